import { createHash, type Hash } from 'node:crypto';
import { fault } from '../contract/errors.ts';
import { limits } from '../contract/limits.ts';
import type { ByteString } from '../std/bytes.ts';
import { passed } from '../std/memory.ts';
import { decompress, type UnpackBound } from '../tar/compression.ts';
import { LayerBuilder, type LayerBuilderOptions, type LayerSummary } from './layer-builder.ts';
import { printable } from './path.ts';
import { type TarEntry, TarReader } from '../tar/reader.ts';

export interface BuildOptions extends LayerBuilderOptions {
  /** Bound of the plain tar (default: that of the layer file). */
  readonly unpacked?: UnpackBound;
  /**
   * Form of the marks of hidden names: `.wh.` files as in OCI layers (default), or those of overlayfs, where no name has a
   * meaning.
   */
  readonly marks?: 'oci' | 'overlay' | undefined;
}

export interface BuiltLayer extends LayerSummary {
  /** `sha256:<hex>` of the uncompressed tar: the diffID of an OCI layer. */
  readonly tarDigest: string;
}

const WHITEOUT_PREFIX = '.wh.';
const OPAQUE_NAME = '.wh..wh..opq';

/**
 * Converts an OCI layer (tar; plain, gzip or zstd), or an overlay's upper directory as tar, to a layer file at `target`
 * in one pass. The result depends on the image below, so a built layer may be reused only for the same chain of layers.
 * Faults: LAYER_MALFORMED, LAYER_LIMIT, DISK_FULL, or those of the source; nothing is left at `target` then.
 */
export async function buildLayer(
  tar: AsyncIterable<Uint8Array>,
  target: string,
  options: BuildOptions = {},
): Promise<BuiltLayer> {
  const { signal, bytesMax = limits.layerFileBytesMax } = options;
  await using builder = await LayerBuilder.create(target, options);
  const hash = createHash('sha256');
  const { unpacked = { limit: bytesMax, what: 'bytes' }, marks = 'oci' } = options;
  const plain = hashed(decompress(tar, unpacked), hash, signal);
  try {
    const reader = new TarReader(plain);
    for (let entry = await reader.next(); entry !== undefined; entry = await reader.next()) {
      const marked = marks === 'oci' && (await addMark(builder, entry));
      if (!marked) await addEntry(builder, entry, reader);
      if (marks === 'overlay' && entry.opaque) await builder.opaque(entry.path);
    }
  } finally {
    await plain.return(undefined);
  }
  signal?.throwIfAborted();
  return { ...(await builder.finish()), tarDigest: `sha256:${hash.digest('hex')}` };
}

async function* hashed(
  source: AsyncIterable<Uint8Array>,
  hash: Hash,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of source) {
    signal?.throwIfAborted();
    hash.update(chunk);
    yield chunk;
    passed(chunk.length);
  }
}

/** Applies an entry whose name is a mark of an OCI layer; returns false for any other. */
async function addMark(builder: LayerBuilder, { path }: TarEntry): Promise<boolean> {
  const marked = path.includes(WHITEOUT_PREFIX) ? parseWhiteout(path) : undefined;
  if (marked === undefined) return false;
  await (marked.opaque ? builder.opaque(marked.path) : builder.whiteout(marked.path));
  return true;
}

async function addEntry(builder: LayerBuilder, entry: TarEntry, reader: TarReader): Promise<void> {
  const { type, path } = entry;
  if (type === 'link') {
    await builder.link(path, entry.linkpath);
  } else if (type === 'file') {
    await builder.add(path, { ...entry, type, content: reader.content() });
  } else if (type === 'symlink') {
    await builder.add(path, { ...entry, type, target: entry.linkpath });
  } else if (type === 'character' && entry.major === 0 && entry.minor === 0) {
    // Some tools pack an overlay's upper directory unchanged.
    await builder.whiteout(path);
  } else {
    await builder.add(path, { ...entry, type });
  }
}

/** Returns the path that a `.wh.` entry (OCI image-spec, layer.md) hides; undefined for other entries. */
function parseWhiteout(path: ByteString): { readonly path: ByteString; readonly opaque: boolean } | undefined {
  const names = path.split('/').filter((name) => name !== '' && name !== '.');
  const last = names.pop() ?? '';
  const hidden = last.slice(WHITEOUT_PREFIX.length);
  if (names.some((name) => name.startsWith(WHITEOUT_PREFIX))) throw malformed(path);
  if (!last.startsWith(WHITEOUT_PREFIX)) return undefined;
  if (last === OPAQUE_NAME) return { path: names.join('/'), opaque: true };
  if (hidden === '' || hidden === '.' || hidden === '..' || hidden.startsWith(WHITEOUT_PREFIX)) throw malformed(path);
  return { path: [...names, hidden].join('/'), opaque: false };
}

function malformed(path: ByteString): Error {
  return fault('LAYER_MALFORMED', { reason: `${JSON.stringify(printable(path))} is not a whiteout` });
}
