import { createWriteStream } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { fault, isFault } from '../../contract/errors.ts';
import type { LineageNode } from '../../contract/image.ts';
import type { ImageImportMetadata, OperationInstanceMetadata, OperationResponse } from '../../contract/operation.ts';
import { present } from '../../std/present.ts';
import { absolutePath } from '../transfer/local-transfers.ts';
import { toByteString } from '../../std/bytes.ts';
import { pathFromText } from '../../std/path-text.ts';
import { configInstructions } from './config-instructions.ts';
import { type Reading, type ImagePair, writeChanges } from './image-changes.ts';
import { configOf } from './image-config.ts';
import { type Instructions, keptInstructions, runInstructions } from './run-instruction.ts';

/** A written Dockerfile, and what it cannot say: it is a comment there. */
export interface BuildFolder {
  readonly path: string;
  readonly missing: readonly string[];
}

/**
 * Writes a folder with a Dockerfile that makes the last image of a lineage (root first), and the files that it adds. Rejects with
 * DESTINATION_EXISTS when the folder is there.
 */
export async function writeBuildFolder(
  reading: Reading,
  nodes: readonly LineageNode[],
  folder: string,
): Promise<BuildFolder> {
  const place = absolutePath(folder);
  await mkdir(place).catch((error: unknown) => {
    if (!(error instanceof Error) || !('code' in error) || error.code !== 'EEXIST') throw error;
    throw fault('DESTINATION_EXISTS', { path: place });
  });
  const writer = new FolderWriter(reading, place);
  for (const node of nodes) await writer.add(node);
  const last = nodes.at(-1);
  if (last !== undefined) await writer.finish(last);
  const path = join(place, 'Dockerfile');
  await writeFile(path, `${writer.lines.join('\n')}\n`, { flag: 'wx' });
  return { path, missing: writer.missing };
}

/** Largest text of the names that a RUN removes. */
const REMOVED_CHARACTERS_MAX = 64 * 1024;
const FILES_NAMED = 20;

class FolderWriter {
  readonly lines: string[] = ['# syntax=docker/dockerfile:1'];
  readonly missing: string[] = [];
  readonly #reading: Reading;
  readonly #folder: string;
  #archives = 0;
  /** User of the image so far; what is saved is not that of a run. */
  #user = '';
  #triggers: readonly string[] = [];
  /** True once an ARG has a value that only the build knew: what uses variables is then written by its result. */
  #hasUnknownArgs = false;

  constructor(reading: Reading, folder: string) {
    this.#reading = reading;
    this.#folder = folder;
  }

  async add(node: LineageNode): Promise<void> {
    const operation = await this.#operation(node);
    if (node.parent_uuid === null) await this.#root(node, operation);
    else {
      const build = operation?.kind === 'image_import' ? `, build ${operation.uuid}` : '';
      this.lines.push('', `# image ${node.uuid}, ${node.created_at}${build}`);
      const pair = { from: node.parent_uuid, to: node.uuid };
      if (operation?.kind === 'instance') await this.#run(pair, node, operation);
      else await this.#instruction(pair, node.command ?? '', operation);
    }
  }

  async #operation({ operation_uuid: uuid }: LineageNode): Promise<OperationResponse | undefined> {
    if (uuid === null) return undefined;
    const { contree, signal } = this.#reading;
    return await contree.operations.get(uuid, { output_bytes: 0 }, signal);
  }

  /** An image of a registry is named; any other root is written as an archive of all its files. */
  async #root(node: LineageNode, operation: OperationResponse | undefined): Promise<void> {
    const { contree, signal } = this.#reading;
    const url = operation === undefined ? '' : ((operation.metadata as ImageImportMetadata).registry?.url ?? '');
    const reference = /^(?:docker|oci):\/\/(?<reference>.+)$/u.exec(url)?.groups?.['reference'];
    const config = await configOf(contree, node.uuid, signal);
    this.#user = config.User ?? '';
    this.lines.push('', `# image ${node.uuid}, imported ${node.created_at}`);
    this.#triggers = config.OnBuild ?? [];
    // FROM would run the triggers of the image once more.
    if (reference !== undefined && this.#triggers.length === 0) {
      this.lines.push(`FROM ${reference}`);
      return;
    }
    const { OnBuild: _, ...rest } = config;
    this.lines.push('FROM scratch', ...(await this.#rootFiles(node.uuid)), ...configInstructions(rest).lines);
  }

  async #rootFiles(image: string): Promise<string[]> {
    const { contree, signal } = this.#reading;
    const { files } = await contree.files.list(image, { path: '/', limit: 1 }, signal);
    // ADD would not recognize an archive without members.
    if (files.length === 0) return [];
    const archive = 'root.tar';
    const content = await contree.files.archive(image, { path: '/' }, signal);
    await pipeline(Readable.from(content), createWriteStream(join(this.#folder, archive), { flags: 'wx' }), { signal });
    return [`ADD ${archive} /`];
  }

  /** Adds the triggers of the root image, which a build from it has run, and a run has kept. */
  async finish(last: LineageNode): Promise<void> {
    if (this.#triggers.length === 0) return;
    const { OnBuild: now = [] } = await configOf(this.#reading.contree, last.uuid, this.#reading.signal);
    const kept = this.#triggers.every((trigger, index) => now[index] === trigger) ? this.#triggers : [];
    this.lines.push(...kept.map((trigger) => `ONBUILD ${trigger}`));
  }

  async #run(pair: ImagePair, node: LineageNode, operation: OperationResponse): Promise<void> {
    const run = operation.metadata as OperationInstanceMetadata;
    if (run.command === '') {
      await this.#changes(pair, `snapshot of instance ${operation.uuid}: ${oneLine(node.command ?? '')}`);
      return;
    }
    const exitCode = operation.exit_code ?? node.exit_code ?? 0;
    const obstacle = exitCode < 0 ? 'a signal ended the command' : await this.#obstacle(operation.uuid);
    const isInjected = obstacle === undefined ? await this.#inputs(pair, run) : undefined;
    if (obstacle !== undefined || isInjected === false) {
      await this.#changes(pair, `${obstacle ?? 'its files are no longer stored'}: ${oneLine(run.command)}`);
      this.#kept(keptInstructions(run));
      return;
    }
    const { lines, missing } = runInstructions(run, exitCode);
    for (const line of missing) this.#lack(line);
    this.lines.push(...this.#asUser(lines));
  }

  /** Leaves out a USER that is in effect already, and returns to that of the image where a RUN needed another one. */
  #asUser([user = '', ...lines]: readonly string[]): string[] {
    const wanted = user.replace(/^USER /u, '');
    const same = wanted === this.#user || (this.#user === '' && wanted === '0:0');
    if (same) return lines;
    return [user, ...lines, `USER ${this.#user === '' ? '0:0' : this.#user}`];
  }

  /** Adds the files that were injected into a run, as a run of nothing with the same files has them. Returns false for none. */
  async #inputs(pair: ImagePair, run: OperationInstanceMetadata): Promise<boolean> {
    const { contree, signal } = this.#reading;
    const { files = {}, directory_states: states = [] } = run;
    if (Object.keys(files).length === 0 && states.length === 0) return true;
    try {
      const probe = await contree.runs.start({
        image: pair.from,
        command: ':',
        shell: true,
        reuse: true,
        networking: { enabled: false },
        ...present({ files, directory_states: states }),
      });
      for await (const _ of contree.operations.events(probe.uuid, { follow: true }, signal)) void _;
      const { result_image_uuid: injected } = await contree.operations.get(probe.uuid, { output_bytes: 0 }, signal);
      if (injected === null) return false;
      if (injected === pair.from) return true;
      await this.#archive({ from: pair.from, to: injected });
      // The image of an earlier run is not ours to delete.
      const isOurs = injected !== pair.to && probe.reused !== true;
      if (isOurs) await contree.images.delete(injected, {}, signal).catch(() => undefined);
      return true;
    } catch (error) {
      if (!isFault(error, 'UPLOAD_NOT_FOUND', 'DIRECTORY_STATE_NOT_FOUND')) throw error;
      return false;
    }
  }

  /** Returns what clients did to a run that makes running its command again something else. */
  async #obstacle(operation: string): Promise<string | undefined> {
    const { contree, signal } = this.#reading;
    let spawned = 0;
    let hasInput = false;
    for await (const { type } of contree.operations.events(operation, {}, signal)) {
      if (type === 'stdin') hasInput = true;
      if (type === 'spawn') spawned += 1;
    }
    if (hasInput) return 'the command had standard input, which is not stored';
    return spawned > 1 ? 'other commands ran at the same time' : undefined;
  }

  /** A step of a build is its own instruction, or its result where that needs what only the build had. */
  async #instruction(pair: ImagePair, text: string, operation: OperationResponse | undefined): Promise<void> {
    const word = /^(?<word>[A-Za-z]+)\s/u.exec(text)?.groups?.['word']?.toUpperCase() ?? '';
    const given = (operation?.metadata as ImageImportMetadata | undefined)?.build?.build_args ?? [];
    if (word === 'ARG') this.#hasUnknownArgs ||= hasUnknownArg(text, given);
    const isResult =
      ['COPY', 'ADD', ''].includes(word) ||
      (word === 'RUN' &&
        (this.#hasUnknownArgs || /--mount=(?!\S*type=(?:cache|secret|tmpfs))|--mount=\S*\bfrom=/u.test(text)));
    if (isResult) return await this.#changes(pair, oneLine(text));
    if (word === 'ARG' && this.#hasUnknownArgs) {
      this.lines.push(`# ${oneLine(text)}`);
      return;
    }
    if (this.#hasUnknownArgs && text.includes('$')) return await this.#configured(pair, text);
    if (word === 'USER') this.#user = text.replace(/^\S+\s+/u, '');
    if (word === 'RUN' && /--mount=\S*type=secret/u.test(text)) this.#lack(`values of secrets, for ${oneLine(text)}`);
    this.lines.push(text);
  }

  /** Writes what an instruction with variables made of the configuration, and of the files for WORKDIR. */
  async #configured(pair: ImagePair, text: string): Promise<void> {
    const { contree, signal } = this.#reading;
    const [before, now] = [await configOf(contree, pair.from, signal), await configOf(contree, pair.to, signal)];
    await this.#changes(pair, oneLine(text));
    this.#user = now.User ?? '';
    this.#kept(configInstructions(now, before));
  }

  #kept({ lines, missing }: Instructions): void {
    this.lines.push(...lines);
    for (const line of missing) this.#lack(line);
  }

  /** Writes what was changed instead of what changed it. */
  async #changes(pair: ImagePair, what: string): Promise<void> {
    this.lines.push(`# ${what}`);
    await this.#archive(pair);
  }

  async #archive(pair: ImagePair): Promise<void> {
    const name = `files-${this.#archives + 1}.tar`;
    const { members, files, removed, sockets } = await writeChanges(this.#reading, pair, join(this.#folder, name));
    for (const path of sockets) this.#lack(`the socket ${JSON.stringify(path)}, which no archive can hold`);
    await this.#remove(pair, removed);
    if (members === 0) return;
    this.#archives += 1;
    for (const path of files.slice(0, FILES_NAMED)) this.lines.push(`# ${name}: ${JSON.stringify(path)}`);
    if (files.length > FILES_NAMED) this.lines.push(`# ${name}: and ${files.length - FILES_NAMED} more`);
    this.lines.push(`ADD ${name} /`);
  }

  /** Removes what an archive cannot remove: with the rm of the image, as root. */
  async #remove(pair: ImagePair, removed: readonly string[]): Promise<void> {
    if (removed.length === 0) return;
    const rm = await this.#rm(pair.from);
    const line = `RUN --network=none ${JSON.stringify([rm, '-rf', '--', ...removed])}`;
    const shown = `${JSON.stringify(removed[0])}${removed.length > 1 ? ` and ${removed.length - 1} more` : ''}`;
    const isText = removed.every((path) => pathFromText(path) === toByteString(path));
    if (line.length > REMOVED_CHARACTERS_MAX) this.#lack(`that ${shown} are removed: their names are too long`);
    else if (!isText) this.#lack(`that ${shown} are removed: a name is not text`);
    else if (rm === undefined) this.#lack(`that ${shown} are removed: the image has no rm`);
    else this.lines.push(...this.#asUser(['USER 0:0', line]));
  }

  /** Returns the path of rm in an image; undefined where it has none. */
  async #rm(image: string): Promise<string | undefined> {
    const { contree, signal } = this.#reading;
    for (const path of ['/bin/rm', '/usr/bin/rm']) {
      try {
        await contree.files.stat(image, { path }, signal);
        return path;
      } catch (error) {
        if (!isFault(error, 'FILE_NOT_FOUND', 'NOT_A_DIRECTORY')) throw error;
      }
    }
    return undefined;
  }

  #lack(text: string): void {
    const line = oneLine(text);
    this.missing.push(line);
    this.lines.push(`# MISSING: ${line}`);
  }
}

/** Reports whether an ARG names a variable whose value was given to the build, or comes from elsewhere than its line. */
function hasUnknownArg(text: string, given: readonly string[]): boolean {
  const words = text.split(/\s+/u).slice(1);
  return words.some((word) => !word.includes('=') || given.includes(word.split('=', 1)[0] ?? ''));
}

function oneLine(text: string): string {
  return text.replaceAll(/\s+/gu, ' ').trim();
}
