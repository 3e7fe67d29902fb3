import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { command } from '../../scripts/support/command.ts';
import { debianImage } from '../../scripts/support/debian-image.ts';
import { buildLayer } from '../../src/layers/build-layer.ts';
import { packLayer } from '../../src/layers/pack.ts';
import { Tree, type TreeNode } from '../../src/layers/tree.ts';
import type { LayerFile } from '../../src/erofs/layer-file.ts';
import { LayerReader } from '../../src/erofs/reader.ts';
import { bytesOf, utf8Length } from '../../src/std/bytes.ts';
import { fsck, Scratch } from '../support/layers.ts';

const SUPPORT = join(import.meta.dirname, '../support/python');

/** Returns a path as Python's `os.fsdecode` and `json.dumps` show it: bytes that are not UTF-8 as lone surrogates. */
function asPython(path: string): string {
  const bytes = bytesOf(path);
  let text = '';
  for (let at = 0; at < bytes.length;) {
    const lead = bytes[at] ?? 0;
    const length = utf8Length(lead) || 1;
    const part = bytes.toString('utf8', at, at + length);
    const valid = !part.includes('\ufffd');
    text += valid ? part : String.fromCharCode(0xdc00 + lead);
    at += valid ? length : 1;
  }
  return text;
}

async function sha256(chunks: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of chunks) hash.update(chunk);
  return hash.digest('hex');
}

async function describeNode(tree: Tree, path: string, node: TreeNode): Promise<Record<string, unknown>> {
  const type = node.type === 'character' ? 'char' : node.type;
  const xattrs = [...(await tree.xattrs(node))].map(([name, value]) => [name, Buffer.from(value).toString('hex')]);
  return {
    path: asPython(path === '' ? '.' : path),
    type,
    mode: node.mode & 0o7777,
    uid: node.uid,
    gid: node.gid,
    mtime: node.mtimeSeconds,
    ...(type === 'file' && { size: node.size, sha256: await sha256(tree.stream(node)) }),
    ...(type === 'symlink' && { target: asPython(await tree.readlink(node)) }),
    ...((type === 'char' || type === 'block') && { device: [node.major, node.minor] }),
    ...(xattrs.length > 0 && { xattrs: Object.fromEntries(xattrs) }),
  };
}

/** Returns the tree as `test/support/python/manifest.py` describes an unpacked one. */
async function manifest(layers: readonly LayerFile[]): Promise<Map<string, Record<string, unknown>>> {
  await using tree = await Tree.open(layers);
  const entries = new Map<string, Record<string, unknown>>();
  const links = new Map<string, Record<string, unknown>[]>();
  for await (const { path, node } of tree.walk()) {
    const entry = await describeNode(tree, path, node);
    entries.set(String(entry['path']), entry);
    if (node.type === 'directory') continue;
    links.set(node.key, [...(links.get(node.key) ?? []), entry]);
  }
  for (const group of links.values()) {
    if (group.length === 1) continue;
    const names = group.map((entry) => String(entry['path'])).sort();
    for (const entry of group) entry['links'] = names;
  }
  return entries;
}

async function buildAll(scratch: Scratch, tars: readonly string[]): Promise<LayerFile[]> {
  const layers: LayerFile[] = [];
  for (const tar of tars) {
    const path = scratch.path();
    await using lower = layers.length === 0 ? undefined : await Tree.open(layers);
    layers.push({ path, ...(await buildLayer(createReadStream(tar), path, { lower })) });
    await fsck(path);
  }
  return layers;
}

/** Returns the result of `umoci unpack` for the Debian image with the layer on top. */
async function unpackedManifest(scratch: Scratch, layer: string): Promise<Map<string, Record<string, unknown>>> {
  const { layout } = await debianImage();
  const copy = scratch.path();
  const bundle = scratch.path();
  await command('cp', ['-a', '--reflink=auto', layout, copy]);
  await command('umoci', ['raw', 'add-layer', '--image', `${copy}:debian`, layer]);
  await command('umoci', ['unpack', '--image', `${copy}:debian`, bundle]);
  const lines = (await command('python3', [join(SUPPORT, 'manifest.py'), join(bundle, 'rootfs')]))
    .trimEnd()
    .split('\n');
  const entries = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  return new Map(entries.map((entry) => [String(entry['path']), entry]));
}

/**
 * Returns the directories whose time umoci 0.4.7 takes from the clock: those without an entry, and the parents of
 * those.
 */
function clockDirectories(entries: ReadonlyMap<string, Record<string, unknown>>): Set<string> {
  const implied = [...entries.values()].filter(({ type, mtime }) => type === 'directory' && mtime === 0);
  return new Set(implied.flatMap(({ path }) => [String(path), dirname(String(path))]));
}

test(
  'a Debian image with a layer of rare entries is, path by path, what umoci unpacks',
  { skip: process.getuid?.() !== 0 && 'only root can unpack devices, owners and security xattrs to compare with' },
  async () => {
    await using scratch = await Scratch.create();
    const odd = scratch.path();
    await command('python3', [join(SUPPORT, 'odd_layer.py'), odd]);
    const { tar } = await debianImage();
    const ours = await manifest(await buildAll(scratch, [tar, odd]));
    const theirs = await unpackedManifest(scratch, odd);
    for (const path of clockDirectories(ours)) {
      for (const entry of [ours.get(path), theirs.get(path)]) if (entry !== undefined) entry['mtime'] = 'clock';
    }
    const paths = [...new Set([...ours.keys(), ...theirs.keys()])];
    const different = paths.filter((path) => !isDeepStrictEqual(ours.get(path), theirs.get(path)));
    assert.deepEqual(
      different.slice(0, 20).map((path) => ({ ours: ours.get(path), theirs: theirs.get(path) })),
      [],
    );
    assert.ok(ours.size > 9_000, `${ours.size} paths`);
  },
);

test('Debian packed as an OCI layer again is the same image', async () => {
  await using scratch = await Scratch.create();
  const { tar } = await debianImage();
  const [layer] = await buildAll(scratch, [tar]);
  assert.ok(layer);
  await using reader = await LayerReader.open(layer);
  const path = scratch.path();
  const again = { path, ...(await buildLayer(packLayer(reader), path)) };
  const [before, after] = [await manifest([layer]), await manifest([again])];
  assert.deepEqual([...after.keys()], [...before.keys()]);
  for (const [name, entry] of before) assert.deepEqual(after.get(name), entry);
});
