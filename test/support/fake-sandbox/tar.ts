/** Entries that the fake guest can write. Paths are absolute. */
export type Change =
  | { readonly path: string; readonly kind: 'file'; readonly content: Uint8Array; readonly mode: number }
  | { readonly path: string; readonly kind: 'directory'; readonly mode: number }
  | { readonly path: string; readonly kind: 'symlink'; readonly target: string }
  | { readonly path: string; readonly kind: 'whiteout' };

const BLOCK_BYTES = 512;
const NAME_BYTES = 100;
const TYPE_FLAGS = { file: '0', symlink: '2', directory: '5', whiteout: '3' } as const;

/**
 * Returns an overlay's upper directory as plain ustar, which is sufficient for the fake. `mtimeSeconds` is that of every
 * entry.
 */
export function* tarOf(changes: Iterable<Change>, mtimeSeconds: number): Iterable<Uint8Array> {
  for (const change of changes) {
    const content = change.kind === 'file' ? change.content : new Uint8Array();
    yield headerOf(change, content.byteLength, mtimeSeconds);
    yield content;
    yield Buffer.alloc((BLOCK_BYTES - (content.byteLength % BLOCK_BYTES)) % BLOCK_BYTES);
  }
  yield Buffer.alloc(2 * BLOCK_BYTES);
}

function headerOf(change: Change, size: number, mtimeSeconds: number): Buffer {
  const header = Buffer.alloc(BLOCK_BYTES);
  const octal = (value: number, at: number, digits: number): number =>
    header.write(value.toString(8).padStart(digits, '0'), at, 'latin1');
  const name = nameOf(change);
  if (Buffer.byteLength(name) > NAME_BYTES)
    throw new RangeError(`the fake guest takes names up to ${NAME_BYTES} bytes`);
  header.write(name, 0);
  octal('mode' in change ? change.mode : 0o777, 100, 7);
  octal(0, 108, 7);
  octal(0, 116, 7);
  octal(size, 124, 11);
  octal(mtimeSeconds, 136, 11);
  header.write(TYPE_FLAGS[change.kind], 156, 'latin1');
  if (change.kind === 'symlink') header.write(change.target, 157);
  header.write('ustar\u000000', 257, 'latin1');
  header.fill(' ', 148, 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  octal(sum, 148, 6);
  header.write('\0 ', 154, 'latin1');
  return header;
}

function nameOf({ path, kind }: Change): string {
  const relative = path.slice(1);
  return kind === 'directory' ? `${relative}/` : relative;
}
