import { createWriteStream } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ConTree } from '../../contract/contree.ts';
import { fault, isFault } from '../../contract/errors.ts';
import type { LineageNode } from '../../contract/image.ts';
import type { ImageImportMetadata, OperationInstanceMetadata, OperationResponse } from '../../contract/operation.ts';
import { present } from '../../std/present.ts';
import { absolutePath } from '../transfer/local-transfers.ts';
import { configOf, writeTopLayer, type ExportedConfig } from './image-layers.ts';
import { runInstructions } from './run-instruction.ts';

/** Connection to the server, and the signal that ends the work. */
interface Connection {
  readonly contree: ConTree;
  readonly signal: AbortSignal;
}

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
  connection: Connection,
  nodes: readonly LineageNode[],
  folder: string,
): Promise<BuildFolder> {
  const place = absolutePath(folder);
  await mkdir(place).catch((error: unknown) => {
    if (!(error instanceof Error) || !('code' in error) || error.code !== 'EEXIST') throw error;
    throw fault('DESTINATION_EXISTS', { path: place });
  });
  const writer = new FolderWriter(connection, place);
  for (const node of nodes) await writer.add(node);
  const path = join(place, 'Dockerfile');
  await writeFile(path, `${writer.lines.join('\n')}\n`, { flag: 'wx' });
  return { path, missing: writer.missing };
}

class FolderWriter {
  readonly lines: string[] = ['# syntax=docker/dockerfile:1'];
  readonly missing: string[] = [];
  readonly #connection: Connection;
  readonly #folder: string;
  #archives = 0;
  /** User of the image so far; what is saved is not that of a run. */
  #user = '';

  constructor(connection: Connection, folder: string) {
    this.#connection = connection;
    this.#folder = folder;
  }

  async add(node: LineageNode): Promise<void> {
    const operation = await this.#operation(node);
    if (node.parent_uuid === null) await this.#root(node, operation);
    else if (operation?.kind === 'instance') await this.#run(node, operation);
    else this.#instruction(node, operation);
  }

  async #operation({ operation_uuid: uuid }: LineageNode): Promise<OperationResponse | undefined> {
    if (uuid === null) return undefined;
    const { contree, signal } = this.#connection;
    return await contree.operations.get(uuid, { output_bytes: 0 }, signal);
  }

  /** An image of a registry is named; any other root is written as an archive of all its files. */
  async #root(node: LineageNode, operation: OperationResponse | undefined): Promise<void> {
    const { contree, signal } = this.#connection;
    const url = operation === undefined ? '' : ((operation.metadata as ImageImportMetadata).registry?.url ?? '');
    const reference = /^(?:docker|oci):\/\/(?<reference>.+)$/u.exec(url)?.groups?.['reference'];
    const config = await configOf(contree, node.uuid, signal);
    this.#user = config.User ?? '';
    this.lines.push('', `# image ${node.uuid}, imported ${node.created_at}`);
    if (reference !== undefined) {
      this.lines.push(`FROM ${reference}`);
      return;
    }
    const archive = 'root.tar';
    const content = await contree.files.archive(node.uuid, { path: '/' }, signal);
    await pipeline(Readable.from(content), createWriteStream(join(this.#folder, archive), { flags: 'wx' }), { signal });
    this.lines.push('FROM scratch', `ADD ${archive} /`, ...configInstructions(config));
  }

  async #run(node: LineageNode, operation: OperationResponse): Promise<void> {
    const run = operation.metadata as OperationInstanceMetadata;
    this.lines.push('', `# image ${node.uuid}, ${node.created_at}`);
    if (run.command === '') {
      this.#lack(`what was done in instance ${operation.uuid}, whose snapshot image ${node.uuid} is`);
      return;
    }
    await this.#inputs(node, run);
    await this.#events(operation.uuid);
    const { lines, missing } = runInstructions(run, operation.exit_code ?? node.exit_code ?? 0);
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

  /** Adds the files that were injected into a run, as a run of nothing with the same files has them. */
  async #inputs(node: LineageNode, run: OperationInstanceMetadata): Promise<void> {
    const { contree, signal } = this.#connection;
    const { files = {}, directory_states: states = [] } = run;
    if (Object.keys(files).length === 0 && states.length === 0) return;
    try {
      const image = node.parent_uuid ?? node.uuid;
      const probe = await contree.runs.start({
        image,
        command: ':',
        shell: true,
        reuse: true,
        networking: { enabled: false },
        ...present({ files, directory_states: states }),
      });
      for await (const _ of contree.operations.events(probe.uuid, { follow: true }, signal)) void _;
      const { result_image_uuid: injected } = await contree.operations.get(probe.uuid, { output_bytes: 0 }, signal);
      if (injected === null || injected === image) return;
      await this.#archive(injected);
      if (injected !== node.uuid) await contree.images.delete(injected, {}, signal).catch(() => undefined);
    } catch (error) {
      if (!isFault(error, 'UPLOAD_NOT_FOUND', 'DIRECTORY_STATE_NOT_FOUND')) throw error;
      this.#lack(`the files that were put into the image: ${error.message}`);
    }
  }

  async #archive(image: string): Promise<void> {
    const { contree, signal } = this.#connection;
    this.#archives += 1;
    const name = `files-${this.#archives}.tar`;
    const { files, removed } = await writeTopLayer(contree, image, join(this.#folder, name), signal);
    for (const path of files.slice(0, 20)) this.lines.push(`# ${name}: ${JSON.stringify(path)}`);
    if (files.length > 20) this.lines.push(`# ${name}: and ${files.length - 20} more`);
    if (removed.length > 0) this.lines.push(`RUN ${JSON.stringify(['rm', '-rf', '--', ...removed])}`);
    this.lines.push(`ADD ${name} /`);
  }

  /** Reports what clients did to a run while it went on. */
  async #events(operation: string): Promise<void> {
    const { contree, signal } = this.#connection;
    let others = 0;
    let hasInput = false;
    for await (const { type } of contree.operations.events(operation, {}, signal)) {
      if (type === 'stdin') hasInput = true;
      if (type === 'spawn') others += 1;
    }
    if (hasInput) this.#lack('standard input of the command, which is not stored');
    if (others > 1) this.#lack(`the ${others - 1} other commands that clients ran at the same time`);
  }

  /** A step of a build is its own instruction; only the context that it read is not here. */
  #instruction(node: LineageNode, operation: OperationResponse | undefined): void {
    const text = node.command ?? '';
    this.lines.push(
      '',
      `# image ${node.uuid}, ${node.created_at}${operation === undefined ? '' : `, build ${operation.uuid}`}`,
    );
    const instruction = /^(?<word>[A-Za-z]+)\s/u.exec(text)?.groups?.['word']?.toUpperCase();
    if (instruction === undefined || instruction === 'COPY' || instruction === 'ADD') {
      this.#lack(`files of the build: ${text.split('\n', 1)[0] ?? ''}`);
      return;
    }
    if (instruction === 'USER') this.#user = text.replace(/^\S+\s+/u, '');
    this.lines.push(text);
  }

  #lack(text: string): void {
    const line = text.replaceAll(/\s+/gu, ' ');
    this.missing.push(line);
    this.lines.push(`# MISSING: ${line}`);
  }
}

function configInstructions(config: ExportedConfig): string[] {
  const lines: string[] = [];
  for (const variable of config.Env ?? []) {
    const split = variable.indexOf('=');
    lines.push(`ENV ${variable.slice(0, split)}=${literal(variable.slice(split + 1))}`);
  }
  for (const [name, value] of Object.entries(config.Labels ?? {}))
    lines.push(`LABEL ${literal(name)}=${literal(value)}`);
  if (config.WorkingDir) lines.push(`WORKDIR ${config.WorkingDir}`);
  if (config.User) lines.push(`USER ${config.User}`);
  if (config.Entrypoint?.length) lines.push(`ENTRYPOINT ${JSON.stringify(config.Entrypoint)}`);
  if (config.Cmd?.length) lines.push(`CMD ${JSON.stringify(config.Cmd)}`);
  return lines;
}

/** Returns a value in quotes, in which nothing is replaced. */
function literal(value: string): string {
  return `"${value.replaceAll(/[\\"$]/gu, String.raw`\$&`)}"`;
}
