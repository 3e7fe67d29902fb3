import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildLayer } from '../../src/layers/build-layer.ts';
import { Tree } from '../../src/layers/tree.ts';
import { isFault } from '../../src/contract/errors.ts';
import type { LayerFile } from '../../src/erofs/layer-file.ts';
import { fsck, Scratch } from '../support/layers.ts';
import { fuzzRounds, Random } from '../support/random.ts';
import { streamOf, type TarMember, tarOf } from '../support/tar.ts';

/*
 * An independent model of layers: unpack each archive, entry by entry, into one tree in memory. Random layers with
 * colliding names must give the same tree as our layer files seen through the overlay.
 */

interface ModelFile {
  readonly type: 'file' | 'symlink';
  readonly text: string;
  layer: number;
}

class ModelDirectory {
  readonly type = 'directory';
  readonly children = new Map<string, ModelNode>();
  /** Names that the layer has only because a hard link copied their file. */
  readonly repeated = new Set<string>();
  text = 'implied';
  layer: number;

  constructor(layer: number) {
    this.layer = layer;
  }

  put(name: string, node: ModelNode): void {
    this.children.set(name, node);
    this.repeated.delete(name);
  }

  /** Removes a name of lower layers, and what it holds of them. */
  hide(name: string, layer: number): void {
    const child = this.children.get(name);
    const own = child?.type === 'directory' ? child.removeLower(layer) : child?.layer === layer;
    if (!own || this.repeated.has(name)) this.children.delete(name);
  }

  /** Removes the entries of lower layers; reports whether any of this layer are left. */
  removeLower(layer: number): boolean {
    for (const name of this.children.keys()) this.hide(name, layer);
    return this.layer === layer || this.children.size > 0;
  }

  /** Returns a copy of the directories, with the same files. */
  copy(): ModelDirectory {
    const copy = new ModelDirectory(this.layer);
    for (const [name, child] of this.children) copy.put(name, child.type === 'directory' ? child.copy() : child);
    return copy;
  }
}

type ModelNode = ModelFile | ModelDirectory;

class Refused extends Error {}

class Model {
  readonly root = new ModelDirectory(0);
  layer = 0;
  /** The tree below the layer, and copies of its files that hard links of the layer made. */
  #below = new ModelDirectory(0);
  #copies = new Map<ModelNode, ModelFile>();

  begin(): void {
    this.layer += 1;
    this.#below = this.root.copy();
    this.#copies = new Map();
    const forget = (directory: ModelDirectory): void => {
      directory.repeated.clear();
      for (const child of directory.children.values()) if (child.type === 'directory') forget(child);
    };
    forget(this.root);
  }

  apply({ path, flag = '0', linkname = '', content }: TarMember): void {
    const names = path.split('/').filter((name) => name !== '');
    const name = names.pop() ?? '';
    if (name === '.wh..wh..opq') return this.#opaque(names);
    if (name.startsWith('.wh.')) return this.#enter(names)?.hide(name.slice(4), this.layer);
    if (flag === '1') return this.#link(names, name, linkname.split('/'));
    const parent = this.#make(names);
    if (flag === '5') {
      const known = parent.children.get(name);
      const directory = known?.type === 'directory' ? known : new ModelDirectory(this.layer);
      directory.text = 'described';
      directory.layer = this.layer;
      parent.put(name, directory);
    } else {
      const text = flag === '2' ? linkname : String(content);
      parent.put(name, { type: flag === '2' ? 'symlink' : 'file', text, layer: this.layer });
    }
  }

  /** An opaque mark is about a directory of that name: a symlink is not one. */
  #opaque(names: readonly string[]): void {
    const name = names.at(-1);
    const directory = name === undefined ? this.root : this.#enter(names.slice(0, -1))?.children.get(name);
    if (directory?.type === 'directory') directory.removeLower(this.layer);
  }

  /** The target is what the image shows, or else what it showed before the layer. */
  #link(names: readonly string[], name: string, target: readonly string[]): void {
    const targetName = target.at(-1) ?? '';
    const targetParent = this.#enter(target.slice(0, -1));
    const visible = targetParent?.children.get(targetName);
    const found = visible ?? this.#enter(target.slice(0, -1), this.#below)?.children.get(targetName);
    if (found === undefined || found.type === 'directory') throw new Refused();
    // A file of a lower layer is copied, once: names that no link of the layer mentions keep the old inode.
    const own = found.layer === this.layer;
    const node = own ? found : (this.#copies.get(found) ?? { ...found, layer: this.layer });
    if (!own) this.#copies.set(found, node);
    if (visible !== undefined && !own) {
      targetParent?.put(targetName, node);
      targetParent?.repeated.add(targetName);
    }
    this.#make(names).put(name, node);
  }

  #enter(names: readonly string[], root: ModelDirectory = this.root): ModelDirectory | undefined {
    return this.#walk(names, root, () => undefined);
  }

  /** Returns the directory; makes what is missing. */
  #make(names: readonly string[]): ModelDirectory {
    const directory = this.#walk(names, this.root, (parent, name) => {
      const made = new ModelDirectory(this.layer);
      parent.put(name, made);
      return made;
    });
    assert.ok(directory);
    return directory;
  }

  #walk(
    names: readonly string[],
    root: ModelDirectory,
    missing: (parent: ModelDirectory, name: string) => ModelDirectory | undefined,
  ): ModelDirectory | undefined {
    const pending = names.toReversed();
    const stack = [root];
    for (let follows = 0; pending.length > 0;) {
      const name = pending.pop() ?? '';
      const directory = stack.at(-1) ?? root;
      const child = directory.children.get(name);
      if (name === '..') {
        if (stack.length > 1) stack.pop();
      } else if (child?.type === 'symlink') {
        if (++follows > 40) throw new Refused();
        if (child.text.startsWith('/')) stack.length = 1;
        pending.push(
          ...child.text
            .split('/')
            .filter((part) => part !== '')
            .toReversed(),
        );
      } else {
        const next = child?.type === 'directory' ? child : missing(directory, name);
        if (next === undefined) return undefined;
        stack.push(next);
      }
    }
    return stack.at(-1);
  }

  listing(): string[] {
    const lines: string[] = [];
    const first = new Map<ModelNode, string>();
    const visit = (path: string, node: ModelNode) => {
      lines.push(lineOf(path, node.type, node.text, first.get(node) ?? path));
      first.set(node, first.get(node) ?? path);
      if (node.type !== 'directory') return;
      for (const name of [...node.children.keys()].sort()) {
        const child = node.children.get(name);
        if (child !== undefined) visit(`${path}/${name}`, child);
      }
    };
    visit('', this.root);
    return lines.slice(1);
  }
}

function lineOf(path: string, type: string, text: string, first: string): string {
  return `${path} ${type} ${text}${first === path ? '' : ` = ${first}`}`;
}

async function ourListing(layers: readonly LayerFile[]): Promise<string[]> {
  await using tree = await Tree.open(layers);
  const lines: string[] = [];
  const first = new Map<string, string>();
  for await (const { path, node } of tree.walk()) {
    let text: string;
    if (node.type === 'directory') text = node.mtimeSeconds === 0 ? 'implied' : 'described';
    else if (node.type === 'symlink') text = await tree.readlink(node);
    else text = (await tree.read(node, 0, 100)).toString();
    lines.push(lineOf(`/${path}`, node.type, text, first.get(node.key) ?? `/${path}`));
    first.set(node.key, first.get(node.key) ?? `/${path}`);
  }
  return lines.slice(1);
}

const NAMES = ['a', 'b', 'c'] as const;
const TARGETS = ['a', 'b', '/c', '../a', 'a/b', '..', '/'] as const;

function randomPath(random: Random): string {
  return Array.from({ length: 1 + random.below(3) }, () => random.pick(NAMES)).join('/');
}

function randomMember(random: Random, serial: number, earlier: readonly string[]): TarMember {
  const path = randomPath(random);
  const target = earlier.length > 0 && random.below(8) > 0 ? earlier[random.below(earlier.length)] : undefined;
  const cut = path.lastIndexOf('/') + 1;
  switch (random.below(12)) {
    case 0:
    case 1:
      return { path: `${path.slice(0, cut)}.wh.${path.slice(cut)}` };
    case 2:
      return { path: `${path}/.wh..wh..opq` };
    case 3:
      return { path, flag: '1', linkname: target ?? randomPath(random) };
    case 4:
    case 5:
      return { path, flag: '2', linkname: random.pick(TARGETS) };
    case 6:
    case 7:
    case 8:
      return { path, flag: '5', mode: 0o755, mtime: 1 };
    default:
      return { path, content: `${serial}` };
  }
}

/** Runs one case of up to three layers. Returns whether both sides accepted it. */
async function check(scratch: Scratch, seed: number): Promise<boolean> {
  const random = new Random(seed);
  const model = new Model();
  const layers: LayerFile[] = [];
  const archives: TarMember[][] = [];
  for (let layer = 1; layer <= 3; layer++) {
    model.begin();
    const members: TarMember[] = [];
    archives.push(members);
    for (let count = 1 + random.below(8); count > 0; count--) {
      const files = archives.flat().filter(({ path, flag = '0' }) => flag !== '5' && !path.includes('.wh.'));
      members.push(
        randomMember(
          random,
          model.layer * 10 + count,
          files.map(({ path }) => path),
        ),
      );
    }
    let refused = false;
    try {
      for (const member of members) model.apply(member);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      refused = true;
    }
    const path = scratch.path();
    await using lower = layers.length === 0 ? undefined : await Tree.open(layers);
    const building = buildLayer(streamOf(tarOf(members), 1e6), path, { lower });
    const explain = `seed ${seed}: ${JSON.stringify(archives)}`;
    if (refused) {
      await assert.rejects(building, (error) => isFault(error, 'LAYER_MALFORMED'), explain);
      return false;
    }
    layers.push({ path, ...(await building.catch((error: unknown) => assert.fail(`${String(error)} ${explain}`))) });
    assert.deepEqual(await ourListing(layers), model.listing(), explain);
  }
  if (seed % 20 === 0) for (const { path } of layers) await fsck(path);
  return true;
}

test('random layers with colliding names mean what unpacking them one after the other means', async () => {
  await using scratch = await Scratch.create();
  let accepted = 0;
  for (let seed = 1; seed <= fuzzRounds(250); seed++) if (await check(scratch, seed)) accepted++;
  assert.ok(accepted > 100, `${accepted} accepted`);
});
