import { limits } from './limits.ts';

/** Letters, digits, `_` and `-` in words separated by single `:` `/` `.`, as the hosted service requires. */
const TAG = /^[A-Za-z0-9_-]+(?:[:/.][A-Za-z0-9_-]+)*$/u;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/iu;

export function isTag(text: string): boolean {
  return text.length <= limits.tagBytesMax && TAG.test(text);
}

/** Project of clients that name none, and of everything from before projects existed. */
export const DEFAULT_PROJECT = 'default';

const PROJECT = /^[a-z0-9][a-z0-9._-]{0,63}$/u;

/** Reports whether a text is a project name: 1 to 64 of `a-z 0-9 . _ -`. */
export function isProject(text: string): boolean {
  return PROJECT.test(text);
}

export function isUuid(text: string): boolean {
  return UUID.test(text);
}
