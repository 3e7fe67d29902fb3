import { limits } from '../../contract/limits.ts';

/** One page of a list, and where the next begins. */
export interface Page<Item> {
  readonly items: readonly Item[];
  readonly nextOffset?: number;
}

/** Part of a result that a list may fill; the rest is for its other fields and JSON's own characters. */
const PAGE_CHARACTERS_MAX = limits.toolResultBytesMax * 0.85;

/**
 * Cuts a page to what fits into one tool result. `more` says that items beyond these exist.
 * At least one item is kept, so that paging always advances.
 */
export function pageOf<Item>(items: readonly Item[], offset: number, more: boolean): Page<Item> {
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
