import { fault } from '../contract/errors.ts';
import { limits } from '../contract/limits.ts';
import { type ByteString, textOf } from '../std/bytes.ts';

/** Splits a path inside an image, without empty parts and `.`; `..` stays. Faults: PATH_INVALID. */
export function splitPath(path: ByteString): ByteString[] {
  if (path.length > limits.pathBytesMax) {
    throw fault('PATH_INVALID', {
      path: printable(path.slice(0, 64)),
      reason: `longer than ${limits.pathBytesMax} bytes`,
    });
  }
  if (path.includes('\0')) throw fault('PATH_INVALID', { path: printable(path), reason: 'contains a zero byte' });
  const names = path.split('/').filter((name) => name !== '' && name !== '.');
  if (names.length > limits.pathDepthMax) {
    throw fault('PATH_INVALID', { path: printable(path.slice(0, 64)), reason: `deeper than ${limits.pathDepthMax}` });
  }
  if (names.some((name) => name.length > limits.nameBytesMax)) {
    throw fault('PATH_INVALID', {
      path: printable(path.slice(0, 64)),
      reason: `a name is longer than ${limits.nameBytesMax} bytes`,
    });
  }
  return names;
}

/** Splits the path of an archive member or layer entry; a leading slash is ignored. Faults: LAYER_MALFORMED. */
export function splitEntryPath(path: ByteString): ByteString[] {
  if (path.length > limits.pathBytesMax) throw malformed(path, `is longer than ${limits.pathBytesMax} bytes`);
  if (path.includes('\0')) throw malformed(path, 'contains a zero byte');
  const names = path.split('/').filter((name) => name !== '' && name !== '.');
  if (names.length > limits.pathDepthMax) throw malformed(path, `is deeper than ${limits.pathDepthMax}`);
  for (const name of names) {
    if (name === '..') throw malformed(path, 'leads upwards');
    if (name.length > limits.nameBytesMax) throw malformed(path, `has a name longer than ${limits.nameBytesMax} bytes`);
  }
  return names;
}

function malformed(path: ByteString, reason: string): Error {
  return fault('LAYER_MALFORMED', { reason: `path ${JSON.stringify(printable(path.slice(0, 128)))} ${reason}` });
}

/** Returns a byte string for display: its text, or one character per byte when it is not UTF-8. */
export function printable(path: ByteString): string {
  return textOf(path) ?? path;
}
