import { FieldWriter } from '../channel/field.ts';
import type { Inode } from '../../erofs/format.ts';
import { isVisibleDevice } from '../../erofs/plain.ts';
import { type DirectoryNode, type LayerNode, type Metadata, NO_XATTRS, type Xattrs } from '../../erofs/node.ts';
import type { LayerReader } from '../../erofs/reader.ts';
import { LayerWriter } from '../../erofs/writer.ts';
import { bytesOf, type ByteString } from '../../std/bytes.ts';

/*
 * The plain form of a layer that gVisor cannot mount (an inode with xattrs cannot be looked up there, a file with an inline tail
 * cannot be mapped, a device has the number 0): the same tree in the folder `root`, and next to it the file `extras` with what
 * is missing. The agent restores it (guest/agent/src/container/extras.rs). `extras` is a list without an end mark, of
 *
 *   bytes path · u8 opaque · list<{bytes name, bytes value}> xattrs · u32 major · u32 minor
 *
 * with fields as in docs/guest-protocol.md. The numbers are 0 for everything but devices.
 */

const OPAQUE = 'trusted.overlay.opaque';
const PLAIN: Metadata = { mode: 0o755, uid: 0, gid: 0, mtimeSeconds: 0, mtimeNanoseconds: 0, xattrs: NO_XATTRS };

/** Writes the plain form of a layer to `target`, which must not exist. A failure leaves nothing there. */
export async function writePlainLayer(reader: LayerReader, target: string, signal: AbortSignal): Promise<void> {
  await using writer = await LayerWriter.create(target);
  const copy = new Copy(reader, writer, signal);
  const root = await copy.directory(await reader.root(), '');
  const extras = Buffer.concat(copy.extras);
  const content = await writer.append(once(extras), extras.length);
  const children = new Map<ByteString, LayerNode>([
    ['root', root],
    ['extras', { type: 'file', ...PLAIN, content }],
  ]);
  await writer.finish({ type: 'directory', ...PLAIN, children });
}

class Copy {
  readonly extras: Buffer[] = [];
  readonly #reader: LayerReader;
  readonly #writer: LayerWriter;
  readonly #signal: AbortSignal;
  /** Files with several names (hard links). */
  readonly #known = new Map<number, LayerNode>();

  constructor(reader: LayerReader, writer: LayerWriter, signal: AbortSignal) {
    this.#reader = reader;
    this.#writer = writer;
    this.#signal = signal;
  }

  async directory(inode: Inode, path: ByteString): Promise<DirectoryNode> {
    this.#signal.throwIfAborted();
    await this.#note(inode, path);
    const children = new Map<ByteString, LayerNode>();
    const entries = await this.#reader.list(inode);
    const inodes = await this.#reader.inodes(entries.map(({ nid }) => nid));
    for (const [index, { name }] of entries.entries()) {
      const child = inodes[index];
      if (child === undefined) continue;
      const below = path === '' ? name : `${path}/${name}`;
      children.set(
        name,
        child.type === 'directory' ? await this.directory(child, below) : await this.#file(child, below),
      );
    }
    return { type: 'directory', ...metadataOf(inode), children };
  }

  async #file(inode: Inode, path: ByteString): Promise<LayerNode> {
    await this.#note(inode, path);
    const known = inode.nlink > 1 ? this.#known.get(inode.nid) : undefined;
    if (known !== undefined) return known;
    const node = await this.#node(inode);
    if (inode.nlink > 1) this.#known.set(inode.nid, node);
    return node;
  }

  async #node(inode: Inode): Promise<LayerNode> {
    const metadata = metadataOf(inode);
    const { type, major, minor } = inode;
    if (type === 'file') {
      const content = await this.#writer.append(this.#reader.stream(inode), inode.size);
      return { type, ...metadata, content };
    }
    if (type === 'symlink') return { type, ...metadata, target: await this.#reader.readlink(inode) };
    if (type === 'character' || type === 'block') return { type, ...metadata, major, minor };
    if (type === 'directory') return { type, ...metadata, children: new Map() };
    return { type, ...metadata };
  }

  /** Keeps the xattrs and the device number of a path for the agent. */
  async #note(inode: Inode, path: ByteString): Promise<void> {
    const device = isVisibleDevice(inode, path);
    if (inode.xattrBytes === 0 && !device) return;
    const xattrs: Xattrs = await this.#reader.xattrs(inode);
    const kept = [...xattrs].filter(([name]) => name !== OPAQUE);
    const fields = new FieldWriter();
    fields.bytes(bytesOf(path));
    fields.u8(xattrs.has(OPAQUE) ? 1 : 0);
    fields.u32(kept.length);
    for (const [name, value] of kept) {
      fields.bytes(bytesOf(name));
      fields.bytes(value);
    }
    fields.u32(device ? inode.major : 0);
    fields.u32(device ? inode.minor : 0);
    this.extras.push(fields.payload());
  }
}

function metadataOf({ mode, uid, gid, mtimeSeconds, mtimeNanoseconds }: Inode): Metadata {
  return { mode: mode & 0o7777, uid, gid, mtimeSeconds, mtimeNanoseconds, xattrs: NO_XATTRS };
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  if (bytes.length > 0) yield bytes;
}
