import { bytesOf, type ByteString, textOf, utf8Length, toByteString } from './bytes.ts';

/** Escapes in a displayed name: a byte that is not UTF-8, or a backslash that would otherwise look like an escape. */
const ESCAPE = /\\x(5c|[89a-f][0-9a-f])/gu;

/** Most names are ASCII without a backslash: their bytes are their text. */
const PLAIN = /^[\u0001-\u005b\u005d-\u007f]*$/u;

/**
 * Returns a file name or path as text for the wire and for people. UTF-8 stays as it is. Other bytes become `\x80` …
 * `\xff`; a backslash before such letters becomes `\x5c`. So every name has exactly one text, and `pathFromText`
 * restores the name.
 */
export function textFromPath(path: ByteString): string {
  if (PLAIN.test(path)) return path;
  const text = textOf(path);
  const guarded = (part: string): string => part.replaceAll(ESCAPE, (_, hex: string) => `\\x5cx${hex}`);
  if (text !== undefined) return guarded(text);
  // Decoding replaces invalid bytes by U+FFFD without saying which, so the sequences are walked here.
  const bytes = bytesOf(guarded(path));
  let shown = '';
  for (let at = 0; at < bytes.length;) {
    const length = sequenceLength(bytes, at);
    shown += length === 0 ? `\\x${bytes[at]?.toString(16)}` : bytes.toString('utf8', at, at + length);
    at += Math.max(1, length);
  }
  return shown;
}

/** Returns the file name or path of a text: the inverse of `textFromPath`. */
export function pathFromText(text: string): ByteString {
  return toByteString(text).replaceAll(ESCAPE, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

/** Returns the length of the UTF-8 character at `at`, or 0 when there is none. */
function sequenceLength(bytes: Buffer, at: number): number {
  const length = utf8Length(bytes[at] ?? 0);
  if (length === 0 || at + length > bytes.length) return 0;
  return textOf(bytes.toString('latin1', at, at + length)) === undefined ? 0 : length;
}
