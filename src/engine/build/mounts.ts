import { posix } from 'node:path';
import { chmod } from 'node:fs/promises';
import { metadataOf } from '../../layers/build-directory.ts';
import { LayerBuilder, type LayerEntry } from '../../layers/layer-builder.ts';
import { memoryLayer } from '../../layers/memory-layer.ts';
import { mergeLayers } from '../../layers/merge-layers.ts';
import { Tree } from '../../layers/tree.ts';
import { withoutPaths } from '../../layers/without-paths.ts';
import { isFault } from '../../contract/errors.ts';
import { limits } from '../../contract/limits.ts';
import { streamBytes } from '../../contract/stream.ts';
import { dockerfileFault } from '../../dockerfile/faults.ts';
import { parseMount, type RunMount } from '../../dockerfile/mount.ts';
import type { RunInstruction } from '../../dockerfile/instruction.ts';
import type { Substitution } from '../../dockerfile/substitute.ts';
import type { LayerFile } from '../../erofs/layer-file.ts';
import { NO_XATTRS } from '../../erofs/node.ts';
import { type ByteString, toByteString } from '../../std/bytes.ts';
import type { StoredImage } from '../../store/images.ts';
import type { CommitPlace } from '../run/commit.ts';
import { type CacheMount, loadCache, saveCache } from './cache-mounts.ts';
import { filesBelow } from './copy-sources.ts';
import { SCRIPT_PATH } from './run-command.ts';
import type { SshMount } from './ssh/agent.ts';
import { RELAY_PATH, SshMounts } from './ssh/mounts.ts';
import type { OngoingBuild } from './ongoing-build.ts';
import { digestOfTexts, ImageSourceNode, locateSource, type SourceNode, STEP_TIME_SECONDS } from './source-node.ts';

const SECRETS_DIRECTORY = '/run/secrets';
/** Modes of secrets and of caches where a mount states none (Dockerfile reference, RUN --mount). */
const SECRET_MODE = 0o400;
const CACHE_MODE = 0o755;
const PROGRAM_MODE = 0o755;
const SOCKET_FILE_MODE = 0o600;
const NO_BYTES = Buffer.alloc(0);
const TMPFS_MODE = 0o1777;
/** Layers of caches of one RUN; those of more are merged into one for its time. */
const CACHE_LAYERS_MAX = 4;
/** Layers of a sandbox have this mode: it may run as another user and opens them again. */
const LAYER_FILE_MODE = 0o444;

/** A mount with what it needs. */
interface Wanted {
  readonly mount: RunMount;
  /** Absolute path as it is written. */
  readonly target: string;
  /** Image that a bind mount is from; undefined for the context. */
  readonly from: StoredImage | undefined;
  /** Value of a secret. */
  readonly secret: Uint8Array | undefined;
  /** Content of an executable file of ours, instead of what a bind mount is from. */
  readonly program?: Uint8Array;
}

/** State of the stage that mounts depend on. */
export interface MountState {
  readonly substitution: Substitution;
  readonly cwd: string;
  /** Index of the stage. */
  readonly stage: number;
  /** Script that the command runs. */
  readonly script: string | undefined;
}

/** Layers and variables of mounts, valid until they are disposed. */
export interface OpenMounts extends AsyncDisposable {
  readonly mounts: readonly LayerFile[];
  readonly secrets: readonly LayerFile[];
  readonly agents: readonly SshMount[];
  readonly keep: CommitPlace['keep'];
}

/**
 * Mounts of one RUN. They are layers over the image for the time of the command: what it writes there is taken out of its
 * changes, and kept only for caches.
 */
export class RunMounts {
  readonly #build: OngoingBuild;
  readonly #wanted: readonly Wanted[];
  readonly #ssh: SshMounts;
  readonly #line: number;

  private constructor(build: OngoingBuild, wanted: readonly Wanted[], ssh: SshMounts, line: number) {
    this.#build = build;
    this.#wanted = wanted;
    this.#ssh = ssh;
    this.#line = line;
  }

  /** Parses the mounts of an instruction and waits for what they are from. Faults: DOCKERFILE_INVALID. */
  static async open(
    build: OngoingBuild,
    { mounts, line }: RunInstruction,
    { substitution, cwd, stage, script }: MountState,
  ): Promise<RunMounts> {
    const wanted: Wanted[] = script === undefined ? [] : [programMount(SCRIPT_PATH, Buffer.from(script), substitution)];
    const ssh = new SshMounts(build.request.ssh, build.place.guestAgent);
    for (const text of mounts) {
      const mount = parseMount(text, substitution);
      refuse(mount, line);
      const target = mount.type === 'ssh' ? ssh.add(mount, cwd, line) : targetOf(mount, cwd);
      if (target === '/') throw dockerfileFault(line, '--mount: the target cannot be the root');
      const from = mount.from === undefined ? undefined : await build.source(mount.from, stage, line);
      wanted.push({ mount, target, from, secret: secretOf(build, mount, line) });
    }
    const relay = await ssh.relay();
    if (relay !== undefined) wanted.push(programMount(RELAY_PATH, relay, substitution));
    return new RunMounts(build, wanted, ssh, line);
  }

  /** Most layers that are over those of the image: caches, what is bound, and secrets. */
  get layersMax(): number {
    return this.isEmpty ? 0 : CACHE_LAYERS_MAX + 2;
  }

  get isEmpty(): boolean {
    return this.#wanted.length === 0;
  }

  /** Variables whose values are secrets. */
  get env(): Readonly<Record<string, string>> {
    const named = this.#wanted.filter(({ mount, secret }) => mount.env !== undefined && secret !== undefined);
    return Object.fromEntries(named.map(({ mount, secret = '' }) => [mount.env, Buffer.from(secret).toString('utf8')]));
  }

  /** Variables that name what is mounted, for a command that does not have them. */
  get names(): Readonly<Record<string, string>> {
    return this.#ssh.env;
  }

  /** Returns texts that stand for the mounts: with the contents of bind mounts, without values of secrets. */
  async keys(): Promise<readonly string[]> {
    const texts: string[] = [];
    for (const { mount, target, from, program } of this.#wanted) {
      // The script is part of the command.
      if (program !== undefined) continue;
      texts.push(JSON.stringify({ ...mount, target, from: from?.uuid }));
      if (mount.type !== 'bind' || from !== undefined) continue;
      const contents: string[] = [];
      for await (const { rest, node } of filesBelow(await this.#source(this.#build.context.root, mount))) {
        contents.push(`${rest} ${node.type} ${node.mode} ${await node.fingerprint(this.#build.signal)}`);
      }
      texts.push(digestOfTexts(contents));
    }
    return texts;
  }

  /** Makes the layers of the mounts over those of an image. */
  async prepare(image: readonly LayerFile[]): Promise<OpenMounts> {
    const { store, readers } = this.#build.place;
    const none = { mounts: [], secrets: [], agents: [], keep: undefined };
    if (this.isEmpty) return { ...none, [Symbol.asyncDispose]: async () => undefined };
    await using owned = new AsyncDisposableStack();
    const imageTree = owned.use(await Tree.open(image, readers));
    const placed: { wanted: Wanted; path: ByteString; cache: CacheMount | undefined }[] = [];
    for (const wanted of this.#wanted) {
      const path = await resolved(imageTree, wanted.target);
      const cache = wanted.mount.type === 'cache' ? await loadCache(store, { id: cacheId(wanted), path }) : undefined;
      placed.push({ wanted, path, cache });
    }
    const caches = placed.map(({ cache }) => cache).filter((cache) => cache !== undefined);
    const written = placed.flatMap(({ wanted, cache }) =>
      cache === undefined || wanted.mount.readOnly ? [] : [cache],
    );
    const each = caches.map(({ layer }) => layer).filter((layer) => layer !== undefined);
    const stored = each.length > CACHE_LAYERS_MAX ? [await this.#merged(owned, each, imageTree)] : each;
    const bound = await this.#layer(owned, [...image, ...stored], async (builder) => {
      await keepAbove(
        builder,
        imageTree,
        placed.map(({ path }) => path),
      );
      for (const { wanted, path, cache } of placed)
        await this.#add(builder, wanted, { path, isNew: cache?.layer === undefined });
    });
    const secrets = await this.#secrets(owned, [...image, ...stored, bound], placed);
    const paths = new Set(placed.map(({ path }) => path));
    const mounts = [...stored, bound];
    if (image.length + mounts.length + secrets.length > limits.layersMountedMax) {
      const reason = `the image and the mounts have more than ${limits.layersMountedMax} layers, and are too large to be merged`;
      throw dockerfileFault(this.#line, reason);
    }
    const keep: CommitPlace['keep'] = async (changes, target) => {
      for (const cache of written) await saveCache(this.#build.place, cache, { mounts, changes }, this.#build.signal);
      return await withoutPaths(changes, target, { paths, image: imageTree }, this.#build.signal);
    };
    const kept = owned.move();
    return { mounts, secrets, agents: this.#ssh.agents, keep, [Symbol.asyncDispose]: () => kept.disposeAsync() };
  }

  /** Makes the layer of secrets, which is in memory until its owner is disposed; none where there are no secrets. */
  async #secrets(
    owned: AsyncDisposableStack,
    lower: readonly LayerFile[],
    placed: readonly { readonly wanted: Wanted; readonly path: ByteString }[],
  ): Promise<readonly LayerFile[]> {
    const files = new Map<ByteString, LayerEntry>();
    for (const { wanted, path } of placed) {
      const entry = secretEntry(wanted);
      if (entry !== undefined) files.set(path, entry);
    }
    if (files.size === 0) return [];
    await using tree = await Tree.open(lower, this.#build.place.readers);
    return [owned.use(await memoryLayer(files, tree, this.#build.signal))];
  }

  /** Merges the layers of many caches into one that is removed with its owner. */
  async #merged(owned: AsyncDisposableStack, layers: readonly LayerFile[], lower: Tree): Promise<LayerFile> {
    const { store, readers } = this.#build.place;
    const staged = owned.use(store.layers.stage());
    const { bytes } = await mergeLayers({ layers, lower, readers, target: staged.path }, this.#build.signal);
    await chmod(staged.path, LAYER_FILE_MODE);
    return { path: staged.path, bytes };
  }

  /** Builds a layer that is removed with its owner. */
  async #layer(
    owned: AsyncDisposableStack,
    lower: readonly LayerFile[],
    fill: (builder: LayerBuilder) => Promise<void>,
  ): Promise<LayerFile> {
    const { store, readers } = this.#build.place;
    const staged = owned.use(store.layers.stage());
    await using tree = await Tree.open(lower, readers);
    await using builder = await LayerBuilder.create(staged.path, { lower: tree, signal: this.#build.signal });
    await fill(builder);
    const { bytes } = await builder.finish();
    await chmod(staged.path, LAYER_FILE_MODE);
    return { path: staged.path, bytes };
  }

  async #add(
    builder: LayerBuilder,
    { mount, from, program }: Wanted,
    { path, isNew }: { readonly path: ByteString; readonly isNew: boolean },
  ): Promise<void> {
    if (mount.type === 'secret' || (mount.type === 'cache' && !isNew)) return;
    if (mount.type === 'ssh') {
      // The relay puts its socket in the place of this file, whose directories are not among the changes then.
      if (this.#ssh.isGiven(mount)) await builder.add(path, fileEntry(NO_BYTES, SOCKET_FILE_MODE, mount));
      return;
    }
    if (program !== undefined) return await builder.add(path, fileEntry(program, PROGRAM_MODE, mount));
    if (mount.type === 'bind' || from !== undefined) await this.#bound(builder, { mount, from }, path);
    if (mount.type === 'bind') return;
    await builder.opaque(path);
    const mode = mount.mode ?? (mount.type === 'cache' ? CACHE_MODE : TMPFS_MODE);
    await builder.add(path, directory(mode, mount));
  }

  /** Adds what a mount is from: files of the context or of an image. */
  async #bound(
    builder: LayerBuilder,
    { mount, from }: Pick<Wanted, 'mount' | 'from'>,
    path: ByteString,
  ): Promise<void> {
    if (from === undefined) return await this.#bind(builder, await this.#source(this.#build.context.root, mount), path);
    const { store, readers } = this.#build.place;
    await using tree = await Tree.open(await store.layers.files(store.images.get(from.uuid).layers), readers);
    const source = await this.#source(new ImageSourceNode(tree), mount);
    if (mount.type === 'cache' && source.type !== 'directory') {
      throw dockerfileFault(this.#line, `--mount: ${JSON.stringify(mount.source)} is not a directory, as a cache is`);
    }
    await this.#bind(builder, source, path);
  }

  async #bind(builder: LayerBuilder, source: SourceNode, path: ByteString): Promise<void> {
    if (source.type === 'directory') await builder.opaque(path);
    for await (const { rest, node } of filesBelow(source)) {
      await builder.add(rest === '' ? path : `${path}/${rest}`, await node.entry(this.#build.signal));
    }
  }

  async #source(root: SourceNode, { source = '/' }: RunMount): Promise<SourceNode> {
    const node = await locateSource(root, toByteString(posix.normalize(`/${source}`)));
    if (node === undefined) throw dockerfileFault(this.#line, `--mount: there is no ${JSON.stringify(source)} to bind`);
    return node;
  }
}

function refuse({ type, from, source, sizeBytes, required }: RunMount, line: number): void {
  if (type === 'cache' && from === undefined && source !== undefined) {
    throw dockerfileFault(line, '--mount=type=cache has a source only in what it is from');
  }
  if (sizeBytes !== undefined) throw dockerfileFault(line, '--mount=type=tmpfs with a size is not supported');
  if (required && type !== 'secret' && type !== 'ssh')
    throw dockerfileFault(line, `--mount=type=${type} does not have required`);
}

/** Returns the id of a cache. As in BuildKit, one that begins with files of an image is another one for each image. */
function cacheId({ mount: { id, source = '/' }, target, from }: Wanted): string {
  const name = id ?? target;
  return from === undefined ? name : JSON.stringify([name, from.uuid, posix.resolve('/', source)]);
}

function targetOf({ type, target, id, source, env }: RunMount, cwd: string): string {
  if (type === 'secret' && target === undefined) {
    // A secret in a variable is in no file.
    return env === undefined ? `${SECRETS_DIRECTORY}/${posix.basename(id ?? source ?? '')}` : SECRETS_DIRECTORY;
  }
  return posix.resolve('/', cwd, target ?? '/');
}

/** Returns the value of a secret. Faults: DOCKERFILE_INVALID for one that is required and not given, or too large. */
function secretOf(
  build: OngoingBuild,
  { type, id, source, target, required }: RunMount,
  line: number,
): Uint8Array | undefined {
  if (type !== 'secret') return undefined;
  const name = id ?? source ?? posix.basename(target ?? '');
  const given = build.request.secrets?.find((secret) => secret.id === name);
  if (given === undefined && required) throw dockerfileFault(line, `the secret ${JSON.stringify(name)} is not given`);
  const bytes = given && streamBytes(given.content);
  if (bytes !== undefined && bytes.byteLength > limits.buildSecretBytesMax) {
    throw dockerfileFault(
      line,
      `the secret ${JSON.stringify(name)} is larger than ${limits.buildSecretBytesMax} bytes`,
    );
  }
  return bytes;
}

/** Returns the file of a secret; undefined for other mounts, and for a secret that is in a variable only or not given. */
function secretEntry({ mount, target, secret }: Wanted): LayerEntry | undefined {
  const inVariable = mount.env !== undefined && mount.target === undefined;
  if (mount.type !== 'secret' || secret === undefined || inVariable || target === '/') return undefined;
  return fileEntry(secret, mount.mode ?? SECRET_MODE, mount);
}

/** Returns the mount of an executable file of ours. */
function programMount(target: string, program: Uint8Array, substitution: Substitution): Wanted {
  return { mount: parseMount(`target=${target}`, substitution), target, from: undefined, secret: undefined, program };
}

function fileEntry(bytes: Uint8Array, mode: number, mount: RunMount): LayerEntry {
  return { ...directory(mode, mount), type: 'file', size: bytes.byteLength, content: once(bytes) };
}

/** Gives the directories above mounts the metadata of the image, which the layers of caches do not know. */
async function keepAbove(builder: LayerBuilder, image: Tree, paths: readonly ByteString[]): Promise<void> {
  await builder.add('', { type: 'directory', ...(await metadataOf(image, image.root)) });
  const above = new Set(
    paths.flatMap((path) => path.split('/').map((_, index, names) => names.slice(0, index).join('/'))),
  );
  for (const path of [...above].filter((name) => name !== '').sort()) {
    const node = await image.resolve(`/${path}`, { followLast: false }).catch((error: unknown) => {
      if (isFault(error, 'FILE_NOT_FOUND')) return undefined;
      throw error;
    });
    if (node?.type === 'directory') await builder.add(path, { type: 'directory', ...(await metadataOf(image, node)) });
  }
}

/** Returns the path of a target in an image, with symlinks of its directories resolved, without leading slash. */
async function resolved(image: Tree, target: string): Promise<ByteString> {
  const names = toByteString(target)
    .split('/')
    .filter((name) => name !== '');
  for (let length = names.length; length > 0; length -= 1) {
    try {
      const { path } = await image.locate(`/${names.slice(0, length).join('/')}`);
      return [path, ...names.slice(length)].filter((name) => name !== '').join('/');
    } catch (error) {
      if (!isFault(error, 'FILE_NOT_FOUND')) throw error;
    }
  }
  return names.join('/');
}

function directory(
  mode: number,
  { uid = 0, gid = 0 }: RunMount,
): Extract<LayerEntry, { type: 'directory' | 'fifo' | 'socket' }> {
  return { type: 'directory', mode, uid, gid, mtimeSeconds: STEP_TIME_SECONDS, mtimeNanoseconds: 0, xattrs: NO_XATTRS };
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  if (bytes.byteLength > 0) yield bytes;
}
