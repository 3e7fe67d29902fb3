import { posix } from 'node:path';
import { LayerBuilder } from '../../layers/layer-builder.ts';
import { Tree } from '../../layers/tree.ts';
import { limits } from '../../contract/limits.ts';
import { dockerfileFault } from '../../dockerfile/faults.ts';
import { contentOf } from '../../dockerfile/heredoc.ts';
import { DockerIgnore } from '../../dockerfile/ignore.ts';
import type { CopyInstruction } from '../../dockerfile/instruction.ts';
import { parseChmod } from '../../dockerfile/mode.ts';
import { isPattern } from '../../dockerfile/path-pattern.ts';
import { expandContent, expandWord, type Substitution } from '../../dockerfile/substitute.ts';
import { toByteString } from '../../std/bytes.ts';
import { resolveUser } from '../../images/inspect/users.ts';
import type { StoredImage } from '../../store/images.ts';
import type { Layer } from '../../store/layers.ts';
import type { OngoingBuild } from './ongoing-build.ts';
import { unpacker } from '../workers/unpack.ts';
import { CopyLayer, type CopyStyle } from './copy-layer.ts';
import { filesBelow, type Match, matchAnywhere, matchSources } from './copy-sources.ts';
import { checksumOf, downloadFor, isUrl } from './downloads.ts';
import { unknownUser } from './workdir.ts';
import { digestOfTexts, GivenNode, ImageSourceNode, type SourceNode, STEP_TIME_SECONDS } from './source-node.ts';

/** State of the stage that a COPY depends on. */
export interface CopyState {
  readonly substitution: Substitution;
  readonly cwd: string;
  /** Index of the stage. */
  readonly stage: number;
}

/** Texts of an instruction with their variables replaced. */
interface Expanded {
  readonly paths: readonly string[];
  readonly urls: readonly string[];
  readonly checksum: string | undefined;
  readonly destination: string;
  readonly chown: string | undefined;
  readonly chmod: string | undefined;
  readonly exclude: readonly string[];
  /** Files from here-documents. */
  readonly given: readonly Match[];
}

const FILE_MODE = 0o644;

/** One COPY or ADD: what it depends on, and the making of its layer. */
export class CopyStep {
  readonly #build: OngoingBuild;
  readonly #instruction: CopyInstruction;
  readonly #expanded: Expanded;
  readonly #from: StoredImage | undefined;
  #downloads: readonly Match[] | undefined;

  private constructor(
    build: OngoingBuild,
    instruction: CopyInstruction,
    expanded: Expanded,
    from: StoredImage | undefined,
  ) {
    this.#build = build;
    this.#instruction = instruction;
    this.#expanded = expanded;
    this.#from = from;
  }

  /** Replaces the variables and waits for the stage or image that is copied from. Faults: DOCKERFILE_INVALID. */
  static async open(build: OngoingBuild, instruction: CopyInstruction, state: CopyState): Promise<CopyStep> {
    const { line, from } = instruction;
    const expanded = expand(instruction, state);
    if (expanded.chmod !== undefined) parseChmod(expanded.chmod, line);
    const image =
      from === undefined ? undefined : await build.source(expandWord(from, state.substitution), state.stage, line);
    return new CopyStep(build, instruction, expanded, image);
  }

  /** Keys of the step: by the image that is copied from, which is known at once, and by the contents that are copied. */
  get keys(): readonly (() => Promise<readonly string[]> | readonly string[])[] {
    const { link, parents, unpack } = this.#instruction;
    const { given: _given, ...texts } = this.#expanded;
    const written = JSON.stringify({ ...texts, link, parents, unpack });
    const from = this.#from;
    const byContent = async (): Promise<readonly string[]> => ['content', written, await this.#digest()];
    return from === undefined ? [byContent] : [() => ['image', written, from.uuid], byContent];
  }

  /** Makes the layer over the layers of an image; undefined when nothing is copied. */
  async make(layers: readonly string[]): Promise<Layer | undefined> {
    const { store, readers, threads } = this.#build.place;
    const { signal } = this.#build;
    const unpack = unpacker({ store, threads }, signal);
    await using tree = await Tree.open(await store.layers.files(layers), readers);
    await using staged = store.layers.stage();
    await using builder = await LayerBuilder.create(staged.path, { lower: tree, signal });
    await this.#inSource(async (root) => {
      const layer = new CopyLayer({ builder, tree, unpack }, await this.#style(tree), await this.#place(root), signal);
      const { kind, unpack: unpacks = kind === 'ADD' } = this.#instruction;
      for (const { match, source } of await this.#matches(root)) {
        await layer.copy(match, { given: source, root }, { unpack: unpacks });
      }
      for (const file of this.#expanded.given) await layer.add(file, { unpack: false });
      // What is downloaded stays packed unless that is asked for.
      for (const file of await this.#downloaded()) await layer.add(file, { unpack: this.#instruction.unpack === true });
    });
    const summary = await builder.finish();
    return summary.entries === 0 ? undefined : await store.layers.publish(staged, summary);
  }

  async #place(root: SourceNode): Promise<{ path: string; line: number; several: boolean }> {
    const { destination, paths } = this.#expanded;
    const found = paths.length === 1 ? (await this.#matches(root)).length : 1;
    return { path: destination, line: this.#instruction.line, several: found > 1 };
  }

  async #style(tree: Tree): Promise<CopyStyle> {
    const { line, link, parents } = this.#instruction;
    const { chown, chmod, exclude } = this.#expanded;
    const owner = chown === undefined ? undefined : await resolveUser(tree, chown, 'owner');
    if (owner !== undefined && 'unknown' in owner) throw unknownUser(owner.unknown, line);
    return {
      owner: owner && { uid: owner.uid, gid: owner.gid },
      mode: chmod === undefined ? undefined : parseChmod(chmod, line),
      exclude: DockerIgnore.ofPatterns(exclude, line),
      parents,
      link,
    };
  }

  /** Calls back with the root of what is copied from, which is open meanwhile. */
  async #inSource<Value>(use: (root: SourceNode) => Promise<Value>): Promise<Value> {
    if (this.#from === undefined) return await use(this.#build.context.root);
    const { store, readers } = this.#build.place;
    const layers = await store.layers.files(store.images.get(this.#from.uuid).layers);
    await using tree = await Tree.open(layers, readers);
    return await use(new ImageSourceNode(tree));
  }

  async #matches(root: SourceNode): Promise<readonly { readonly match: Match; readonly source: string }[]> {
    const { line, parents } = this.#instruction;
    const all: { match: Match; source: string }[] = [];
    for (const source of this.#expanded.paths) {
      const matches = await (parents ? matchAnywhere(root, source, line) : matchSources(root, source, line));
      if (matches.length === 0 && !isPattern(source)) throw this.#notFound(source);
      all.push(...matches.map((match) => ({ match, source })));
    }
    return all;
  }

  #notFound(source: string): Error {
    const { line, from } = this.#instruction;
    const path = posix.normalize(`/${source}`).slice(1);
    const ignored = from === undefined && path !== '' && this.#build.context.ignores(path);
    const where = from === undefined ? 'the context' : from;
    return dockerfileFault(
      line,
      ignored
        ? `${JSON.stringify(source)} is left out by .dockerignore`
        : `${JSON.stringify(source)} is not in ${where}`,
    );
  }

  /** Returns the digest of everything that is copied: names, kinds, modes, owners and contents. */
  async #digest(): Promise<string> {
    const { signal } = this.#build;
    const exclude = DockerIgnore.ofPatterns(this.#expanded.exclude, this.#instruction.line);
    const owners = this.#from !== undefined;
    return await this.#inSource(async (root) => {
      const texts: string[] = [];
      for (const { match } of await this.#matches(root)) {
        texts.push(match.path);
        for await (const { rest, node } of filesBelow(match.node, exclude)) {
          signal.throwIfAborted();
          const owner = owners ? `${node.uid}:${node.gid}` : '';
          texts.push(`${rest} ${node.type} ${node.mode} ${owner} ${await node.fingerprint(signal)}`);
        }
      }
      // What has a checksum is known without being downloaded.
      const downloads = this.#expanded.checksum === undefined ? await this.#downloaded() : [];
      for (const { path, node } of [...this.#expanded.given, ...downloads]) {
        texts.push(`${path} ${await node.fingerprint(signal)}`);
      }
      return digestOfTexts(texts);
    });
  }

  async #downloaded(): Promise<readonly Match[]> {
    this.#downloads ??= await downloadFor(this.#build, { ...this.#expanded, line: this.#instruction.line });
    return this.#downloads;
  }
}

function expand(instruction: CopyInstruction, { substitution, cwd }: CopyState): Expanded {
  const { line, kind, from } = instruction;
  const word = (text: string): string => expandWord(text, substitution);
  const optional = (text: string | undefined): string | undefined => (text === undefined ? undefined : word(text));
  const sources = instruction.sources.map(word);
  const urls = kind === 'ADD' ? sources.filter((source) => isUrl(source, line)) : [];
  const paths = sources.filter((source) => !urls.includes(source));
  const destination = destinationOf(word(instruction.destination), cwd, line);
  if (sources.length + instruction.contents.length > 1 && !destination.endsWith('/')) {
    throw dockerfileFault(
      line,
      `the destination of several sources ends with a slash; ${JSON.stringify(destination)} does not`,
    );
  }
  if (from !== undefined && kind === 'ADD') throw dockerfileFault(line, 'ADD does not have --from');
  const checksum = optional(instruction.checksum);
  if (checksum !== undefined && (urls.length !== 1 || sources.length !== 1)) {
    throw dockerfileFault(line, '--checksum is for one URL');
  }
  const given = instruction.contents.map((heredoc): Match => {
    const content = contentOf(heredoc);
    const text = heredoc.expand ? expandContent(content, substitution) : content;
    return { path: toByteString(heredoc.name), node: textNode(text) };
  });
  return {
    paths,
    urls,
    checksum: checksum === undefined ? undefined : checksumOf(checksum, line),
    destination,
    chown: optional(instruction.chown),
    chmod: optional(instruction.chmod),
    exclude: instruction.exclude.map(word),
    given,
  };
}

function textNode(text: string): SourceNode {
  const bytes = Buffer.from(text);
  return new GivenNode(FILE_MODE, text, () => ({
    size: bytes.byteLength,
    content: piece(bytes),
    mtimeSeconds: STEP_TIME_SECONDS,
  }));
}

async function* piece(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  if (bytes.byteLength > 0) yield bytes;
}

/** Returns an absolute path; one that ends in `/`, `.` or `..` is a directory. */
function destinationOf(text: string, cwd: string, line: number): string {
  if (text === '' || text.includes('\0') || text.length > limits.pathBytesMax) {
    throw dockerfileFault(line, 'the destination is empty, or too long, once its variables are replaced');
  }
  const path = posix.resolve('/', cwd, text);
  const isDirectory = /(?:^|\/)\.{0,2}$/u.test(text);
  return isDirectory && path !== '/' ? `${path}/` : path;
}
