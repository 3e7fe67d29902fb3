import { limits } from './limits.ts';

/** `a-z 0-9 _ -` in words separated by single `:` `/` `.`; see reference api.md §3.2. */
const TAG = /^[a-z0-9_-]+(?:[:/.][a-z0-9_-]+)*$/u;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/iu;

export function isTag(text: string): boolean {
  return text.length <= limits.tagBytesMax && TAG.test(text);
}

export function isUuid(text: string): boolean {
  return UUID.test(text);
}
