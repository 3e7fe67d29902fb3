import { bytesOf, type ByteString, textOf, toByteString } from './bytes.ts';

/** In a shown name: a byte that is not UTF-8, or a backslash that would otherwise read as one of these. */
const ESCAPE = /\\x(5c|[89a-f][0-9a-f])/gu;

/** Most names are ASCII without a backslash: their bytes are their text. */
const PLAIN = /^[\u0001-\u005b\u005d-\u007f]*$/u;

/**
 * A file name or path as text, for wires and people. UTF-8 is shown as it is. What is not becomes `\x80` … `\xff` per
 * byte; a backslash that happens to stand before such letters becomes `\x5c`. So every name has one text, and
 * `pathFromText` gets the name back.
 */
export function textFromPath(path: ByteString): string {
  if (PLAIN.test(path)) return path;
  const text = textOf(path);
  const guarded = (part: string): string => part.replaceAll(ESCAPE, (_, hex: string) => `\\x5cx${hex}`);
  if (text !== undefined) return guarded(text);
  // Decoding marks what is not UTF-8 with U+FFFD but does not say which bytes: walk the sequences ourselves.
  const bytes = bytesOf(guarded(path));
  let shown = '';
  for (let at = 0; at < bytes.length;) {
    const length = sequenceLength(bytes, at);
    shown += length === 0 ? `\\x${bytes[at]?.toString(16)}` : bytes.toString('utf8', at, at + length);
    at += Math.max(1, length);
  }
  return shown;
}

/** The file name or path that a text means: the reverse of `textFromPath`. */
export function pathFromText(text: string): ByteString {
  return toByteString(text).replaceAll(ESCAPE, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

/** Length of the UTF-8 character that begins at `at`, or 0 when none does. */
function sequenceLength(bytes: Buffer, at: number): number {
  const first = bytes[at] ?? 0;
  const length = first < 0x80 ? 1 : first < 0xc0 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  if (length === 0 || at + length > bytes.length) return 0;
  return textOf(bytes.toString('latin1', at, at + length)) === undefined ? 0 : length;
}
