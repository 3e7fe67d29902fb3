import { limits } from '../../contract/limits.ts';

/** One page of a list, and the offset of the next. */
export interface Page<Item> {
  readonly items: readonly Item[];
  readonly nextOffset?: number;
}

/** Characters of a result that a list may fill; the rest is for other fields and JSON syntax. */
const PAGE_CHARACTERS_MAX = limits.toolResultBytesMax * 0.85;

/**
 * Cuts a page, which starts at `offset`, to fit into one tool result; `more` when further items exist. At least one item
 * is kept, so that paging always advances.
 */
export function pageOf<Item>(items: readonly Item[], { offset = 0, more = false } = {}): Page<Item> {
  let characters = 0;
  let count = 0;
  for (const item of items) {
    characters += JSON.stringify(item).length + 1;
    if (characters > PAGE_CHARACTERS_MAX && count > 0) break;
    count += 1;
  }
  const kept = items.slice(0, count);
  return more || count < items.length ? { items: kept, nextOffset: offset + count } : { items: kept };
}
