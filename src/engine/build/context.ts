import { posix } from 'node:path';
import { buildLayer } from '../../layers/build-layer.ts';
import type { LayerEntry } from '../../layers/layer-builder.ts';
import { Tree } from '../../layers/tree.ts';
import type { BuildRequest } from '../../contract/build.ts';
import { fault } from '../../contract/errors.ts';
import type { DirectoryStateEntry } from '../../contract/file.ts';
import { limits } from '../../contract/limits.ts';
import { DockerIgnore } from '../../dockerfile/ignore.ts';
import { NO_XATTRS } from '../../erofs/node.ts';
import type { ByteString } from '../../std/bytes.ts';
import { collect } from '../../std/bytes.ts';
import { Pace } from '../../std/event-loop.ts';
import { pathFromText, textFromPath } from '../../std/path-text.ts';
import type { ProjectStore } from '../../store/project-store.ts';
import { ImageSourceNode, locateSource, type SourceEntry, type SourceNode, STEP_TIME_SECONDS } from './source-node.ts';

const DOCKERFILE = 'Dockerfile';
/** Files of a build. */
export interface BuildContext extends AsyncDisposable {
  /** Text of the Dockerfile. */
  readonly dockerfile: string;
  /** Path of the Dockerfile, for messages. */
  readonly name: string;
  /** Files that COPY and ADD may read: without those that the ignore file leaves out. */
  readonly root: SourceNode;
  /** Reports whether the ignore file leaves a path out. */
  readonly ignores: (path: string) => boolean;
}

/**
 * Opens the context of a request. The caller holds the store. Rejects with DIRECTORY_STATE_NOT_FOUND, UPLOAD_NOT_FOUND,
 * DOCKERFILE_INVALID, LAYER_MALFORMED or LAYER_LIMIT.
 */
export async function openContext(
  store: ProjectStore,
  request: BuildRequest,
  signal: AbortSignal,
): Promise<BuildContext> {
  await using owned = new AsyncDisposableStack();
  const files = await contextFiles(store, request, owned, signal);
  const name = request.dockerfile ?? DOCKERFILE;
  const whole = await rootOf(files, () => false);
  const dockerfile = request.dockerfile_text ?? (await readText(whole, name, signal));
  if (dockerfile === undefined) throw fault('BUILD_FILE_NOT_FOUND', { path: name });
  const rules = request.ignore_text ?? (await ignoreText(whole, name, signal));
  const ignore = DockerIgnore.parse(rules ?? '');
  const root = ignore.isEmpty ? whole : await rootOf(files, (path) => ignore.ignores(path));
  const kept = owned.move();
  return {
    dockerfile,
    name,
    root,
    ignores: (path) => ignore.ignores(path),
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/** One file of a context, before it is put into its directory. */
interface ContextFile {
  readonly path: ByteString;
  readonly type: LayerEntry['type'];
  readonly mode: number;
  readonly inode?: string | undefined;
  readonly target?: ByteString;
  readonly fingerprint: (signal: AbortSignal) => Promise<string>;
  readonly entry: (signal: AbortSignal) => Promise<LayerEntry>;
}

async function contextFiles(
  store: ProjectStore,
  { context }: BuildRequest,
  owned: AsyncDisposableStack,
  signal: AbortSignal,
): Promise<readonly ContextFile[]> {
  const { directory_state: state, file } = context ?? {};
  if (state !== undefined && file !== undefined) {
    throw fault('ARGUMENT_INVALID', { reason: 'context: it is a directory state or a file, not both' });
  }
  if (state !== undefined) {
    const entries = await store.states.entries(state);
    return entries.filter(({ removed }) => removed !== true).map((entry) => ofState(store, entry));
  }
  return file === undefined ? [] : await archiveFiles(store, file, owned, signal);
}

function ofState(store: ProjectStore, entry: DirectoryStateEntry): ContextFile {
  const { path, sha256, symlink_to: link, mtime } = entry;
  const mode = link === undefined ? entry.mode : 0o777;
  const target = link === undefined ? undefined : pathFromText(link);
  const metadata = {
    mode,
    uid: 0,
    gid: 0,
    mtimeSeconds: mtime ?? STEP_TIME_SECONDS,
    mtimeNanoseconds: 0,
    xattrs: NO_XATTRS,
  };
  const common = { path: pathFromText(path), mode, fingerprint: async () => sha256 ?? link ?? '' };
  if (target !== undefined) {
    return { ...common, type: 'symlink', target, entry: async () => ({ ...metadata, type: 'symlink', target }) };
  }
  if (sha256 === undefined) {
    return { ...common, type: 'directory', entry: async () => ({ ...metadata, type: 'directory' }) };
  }
  const entryOfFile = async (signal: AbortSignal): Promise<LayerEntry> => {
    const { size } = store.files.get(sha256);
    return { ...metadata, type: 'file', size, content: store.files.open(sha256, signal) };
  };
  return { ...common, type: 'file', entry: entryOfFile };
}

/** Reads an uploaded tar as a layer, so that its paths, links and sizes are checked as those of any archive. */
async function archiveFiles(
  store: ProjectStore,
  file: string,
  owned: AsyncDisposableStack,
  signal: AbortSignal,
): Promise<readonly ContextFile[]> {
  const { sha256 } = store.files.get(file);
  const staged = owned.use(store.layers.stage());
  const built = await buildLayer(store.files.open(sha256, signal), staged.path, {
    marks: 'overlay',
    entriesMax: limits.buildContextEntriesMax,
    signal,
  });
  const tree = owned.use(await Tree.open([{ path: staged.path, bytes: built.bytes }]));
  const files: ContextFile[] = [];
  for await (const { path, node } of tree.walk()) {
    const source = new ImageSourceNode(tree, node);
    const { type, mode, inode } = source;
    const target = type === 'symlink' ? await source.readlink() : undefined;
    files.push({
      path,
      type,
      mode,
      inode,
      ...(target !== undefined && { target }),
      fingerprint: (ends) => source.fingerprint(ends),
      // Files of a context belong to root, also in an archive that says otherwise.
      entry: async () => ({ ...(await source.entry()), uid: 0, gid: 0, xattrs: NO_XATTRS }),
    });
  }
  return files;
}

/** Puts files into directories, without those that are ignored. */
async function rootOf(files: readonly ContextFile[], ignored: (path: string) => boolean): Promise<SourceNode> {
  const root = new ContextNode(undefined);
  const directories = new Map<ByteString, ContextFile>();
  const pace = new Pace();
  for (const file of files) {
    if (pace.due()) await pace.rest();
    const names = file.path.split('/').filter((name) => name !== '');
    if (file.type === 'directory') directories.set(names.join('/'), file);
    if (names.length > 0 && !ignored(textFromPath(names.join('/')))) root.put(names, file);
  }
  // A directory that is ignored but for some of its files is made for these, as it is.
  for (const [path, file] of directories) root.describe(path.split('/'), file);
  return root;
}

/** A file or directory of the context. */
class ContextNode implements SourceNode {
  readonly uid = 0;
  readonly gid = 0;
  readonly #children = new Map<ByteString, ContextNode>();
  #file: ContextFile | undefined;

  constructor(file: ContextFile | undefined) {
    this.#file = file;
  }

  get type(): LayerEntry['type'] {
    return this.#file?.type ?? 'directory';
  }

  get mode(): number {
    return this.#file?.mode ?? 0o755;
  }

  get inode(): string | undefined {
    return this.#file?.inode;
  }

  put(names: readonly ByteString[], file: ContextFile): void {
    const [name = '', ...below] = names;
    const known = this.#children.get(name);
    if (below.length === 0) {
      if (known === undefined) this.#children.set(name, new ContextNode(file));
      else known.#file = file;
      return;
    }
    const directory = known ?? new ContextNode(undefined);
    this.#children.set(name, directory);
    directory.put(below, file);
  }

  /** Sets the metadata of a directory if it is here. */
  describe(names: readonly ByteString[], file: ContextFile): void {
    const [name = '', ...below] = names;
    if (name === '') this.#file = file;
    else this.#children.get(name)?.describe(below.length === 0 ? [''] : below, file);
  }

  async fingerprint(signal: AbortSignal): Promise<string> {
    return (await this.#file?.fingerprint(signal)) ?? '';
  }

  async entry(signal: AbortSignal): Promise<LayerEntry> {
    if (this.#file !== undefined) return await this.#file.entry(signal);
    const metadata = {
      mode: 0o755,
      uid: 0,
      gid: 0,
      mtimeSeconds: STEP_TIME_SECONDS,
      mtimeNanoseconds: 0,
      xattrs: NO_XATTRS,
    };
    return { ...metadata, type: 'directory' };
  }

  async find(name: ByteString): Promise<SourceNode | undefined> {
    return this.type === 'directory' ? this.#children.get(name) : undefined;
  }

  async children(): Promise<readonly SourceEntry[]> {
    if (this.type !== 'directory') return [];
    const entries = [...this.#children].map(([name, node]) => ({ name, node }));
    return entries.sort((left, right) => (left.name < right.name ? -1 : 1));
  }

  async readlink(): Promise<ByteString> {
    return this.#file?.target ?? '';
  }
}

/** Returns the rules that belong to a Dockerfile: `NAME.dockerignore` beside it, otherwise those of the context. */
async function ignoreText(root: SourceNode, name: string, signal: AbortSignal): Promise<string | undefined> {
  const own = await readText(root, `${name}.dockerignore`, signal);
  return own ?? (await readText(root, '.dockerignore', signal));
}

async function readText(root: SourceNode, path: string, signal: AbortSignal): Promise<string | undefined> {
  const node = await locateSource(root, pathFromText(posix.normalize(`/${path}`)));
  if (node?.type !== 'file') return undefined;
  const entry = await node.entry(signal);
  if (entry.type !== 'file') return undefined;
  if (entry.size > limits.dockerfileBytesMax) {
    throw fault('DOCKERFILE_INVALID', { line: 1, reason: `${path} is larger than ${limits.dockerfileBytesMax} bytes` });
  }
  return (await collect(entry.content, limits.dockerfileBytesMax)).toString('utf8');
}
