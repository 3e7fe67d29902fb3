import { readFileSync } from 'node:fs';
import { Tree } from '../../src/layers/tree.ts';
import type { LayerFile } from '../../src/erofs/layer-file.ts';

const ROW_BYTES = 32;
const FORMATS = new URL('../fixtures/formats/', import.meta.url);

/** Returns the text of a frozen fixture, by its path below `test/fixtures/formats`. */
export function frozenText(path: string): string {
  return readFileSync(new URL(path, FORMATS), 'utf8');
}

/** Returns the bytes of a frozen fixture that `sparse` has written. */
export function frozenBytes(path: string): Buffer {
  const [first = '', ...rows] = frozenText(path).trimEnd().split('\n');
  const bytes = Buffer.alloc(Number(/^bytes (\d+)$/u.exec(first)?.[1]));
  for (const row of rows) {
    const [offset = '', hex = ''] = row.split(' ');
    bytes.write(hex, Number.parseInt(offset, 16), 'hex');
  }
  return bytes;
}

/** Returns bytes as text: their number, then a row of hexadecimal for every 32 bytes that are not all zero. */
export function sparse(bytes: Uint8Array): string {
  const lines = [`bytes ${bytes.byteLength}`];
  for (let at = 0; at < bytes.byteLength; at += ROW_BYTES) {
    const row = bytes.subarray(at, at + ROW_BYTES);
    if (row.some((byte) => byte !== 0)) lines.push(`${at.toString(16)} ${Buffer.from(row).toString('hex')}`);
  }
  return `${lines.join('\n')}\n`;
}

/** Returns the content of a stack of layers, one line per path; of a file, what follows its last zero byte. */
export async function described(layers: readonly LayerFile[]): Promise<string[]> {
  await using tree = await Tree.open(layers);
  const lines: string[] = [];
  for await (const { path, node } of tree.walk()) {
    const { type, mode, uid, gid, mtimeSeconds } = node;
    const facts = [type, (mode & 0o7777).toString(8), `${uid}:${gid}`, mtimeSeconds];
    if (type === 'file') {
      const content = await tree.read(node, 0, node.size);
      facts.push(node.size, content.subarray(content.findLastIndex((byte) => byte === 0) + 1).toString('latin1'));
    }
    if (type === 'symlink') facts.push(await tree.readlink(node));
    for (const [name, value] of await tree.xattrs(node)) facts.push(`${name}=${Buffer.from(value).toString('latin1')}`);
    lines.push(JSON.stringify([path, ...facts]));
  }
  return lines;
}
