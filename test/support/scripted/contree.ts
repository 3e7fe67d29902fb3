import { createHash, randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import type { ConTree } from '../../../src/contract/contree.ts';
import { fault } from '../../../src/contract/errors.ts';
import type { EventQuery, OperationEvent } from '../../../src/contract/event.ts';
import type { File, FileResponse } from '../../../src/contract/file.ts';
import type { ArchiveImportRequest, ImageImportRequest } from '../../../src/contract/image.ts';
import { isTag } from '../../../src/contract/names.ts';
import { isFinished, type OperationResponse } from '../../../src/contract/operation.ts';
import type { InstanceSummary } from '../../../src/contract/instance.ts';
import type { ExecSpec, InstanceSpawnRequest } from '../../../src/contract/run.ts';
import { PERMISSIONS } from '../../../src/contract/permissions.ts';
import { streamBytes } from '../../../src/contract/stream.ts';
import { page, ScriptedImages, type ScriptedImage } from './images.ts';
import { PROGRAMS, ScriptedLog, ScriptedProcess, type Program } from './process.ts';
import type { Mutable } from './rows.ts';

interface ScriptedOperation {
  response: OperationResponse;
  cancelled: boolean;
  ended: Promise<void>;
  readonly log: ScriptedLog;
  readonly processes: Map<number, ScriptedProcess>;
  /** Files of an instance that stays. */
  readonly files?: Map<string, Buffer>;
}

/**
 * An in-memory ConTree for tests of MCP server, CLI and HTTP server: images are maps of files, programs are functions.
 * It follows the rules of the interface that they rely on (faults, states, event order) and no others.
 */
export class ScriptedContree extends ScriptedImages implements ConTree {
  readonly #files = new Map<string, { readonly file: File; readonly bytes: Buffer }>();
  readonly #operations = new Map<string, ScriptedOperation>();
  readonly programs: Record<string, Program>;
  disposed = false;
  /** Imports end when this settles; without it, immediately. */
  importsEnd: Promise<void> | undefined;

  constructor(programs: Record<string, Program> = {}) {
    super();
    this.programs = { ...PROGRAMS, ...programs };
  }

  get spawned(): InstanceSpawnRequest[] {
    return this.calls('runs', 'start').map(([request]) => request);
  }

  get imported(): (ImageImportRequest | ArchiveImportRequest)[] {
    return [...this.calls('images', 'import'), ...this.calls('images', 'importArchive')].map(([request]) => request);
  }

  get signalsSent(): string[] {
    return this.calls('processes', 'kill').map(([, , query]) => query?.signal ?? 'TERM');
  }

  /** Reports whether an operation is unfinished. */
  get busy(): boolean {
    return [...this.#operations.values()].some(({ response }) => !isFinished(response.status));
  }

  readonly images: Mutable<ConTree['images']> = this.scripted('images', {
    ...this.imageGroup,
    import: async (request) => this.#import(request),
    build: async ({ dockerfile = 'Dockerfile', tag } = {}) =>
      this.#import({ registry: { url: `dockerfile:${dockerfile}` }, tag }),
    importArchive: async (request) => {
      const { sha256 } = await this.uploads.get(request.file);
      return this.#import({ registry: { url: `archive:${sha256}` }, tag: request.tag });
    },
  });

  readonly uploads: Mutable<ConTree['uploads']> = this.scripted('uploads', {
    create: async (body) => {
      const parts: Uint8Array[] = [];
      for await (const part of body) parts.push(Buffer.from(part));
      const bytes = Buffer.concat(parts);
      const sha256 = createHash('sha256').update(bytes).digest('hex');
      const now = new Date().toISOString();
      const known = this.#files.get(sha256)?.file;
      const file = known ?? { uuid: randomUUID(), sha256, size: bytes.byteLength, created_at: now, updated_at: now };
      this.#files.set(sha256, { file, bytes });
      return { uuid: file.uuid, sha256, size: file.size };
    },
    createMany: async (files) => {
      const uploaded: FileResponse[] = [];
      for await (const bytes of files) uploaded.push(await this.uploads.create(Readable.from([bytes])));
      return uploaded;
    },
    get: async (id) => {
      const found = [...this.#files.values()].find(({ file }) => file.sha256 === id || file.uuid === id);
      if (found === undefined) throw fault('UPLOAD_NOT_FOUND', { file: id });
      return found.file;
    },
    list: async (query = {}) => {
      return page(
        [...this.#files.values()].map(({ file }) => file),
        query,
      );
    },
    offerDirectory: async ({ entries }) => {
      const missing = entries.flatMap(({ sha256 }) =>
        sha256 !== undefined && !this.#files.has(sha256) ? [sha256] : [],
      );
      if (missing.length > 0) return { missing };
      const state = { id: randomUUID(), entries: entries.length, bytes: 0, created_at: new Date().toISOString() };
      return { state, missing };
    },
  });

  readonly runs: Mutable<ConTree['runs']> = this.scripted('runs', {
    start: async (request) => {
      const parent = this.image(request.image);
      const result = {
        stdout: { value: '', encoding: 'ascii' as const },
        stderr: { value: '', encoding: 'ascii' as const },
      };
      const operation = this.#open('instance', { ...request, env: request.env ?? {}, result }, parent.image.uuid);
      operation.ended = this.#execute(operation, request, parent);
      return { uuid: operation.response.uuid };
    },
  });

  readonly instances: Mutable<ConTree['instances']> = this.scripted('instances', {
    open: async ({ image: source, ...request }) => {
      const { image, files } = this.image(source);
      const metadata = { ...request, command: '', image: image.uuid, env: request.env ?? {}, result: {} };
      const instance = { idle_timeout: request.idle_timeout ?? 1_800, lifetime: request.lifetime ?? 86_400 };
      const operation = this.#open('instance', { ...metadata, instance }, image.uuid, new Map(files));
      const started = { started_at: operation.response.created_at, runtime_path: '/', verbose: false, init_pid: 1 };
      operation.log.add('init', started, 0);
      return { uuid: operation.response.uuid, image: image.uuid };
    },
    list: async ({ all = false, ...query } = {}) => {
      const stays = [...this.#operations.values()].filter(({ files }) => files !== undefined).toReversed();
      const found = stays.filter(({ response }) => all || !isFinished(response.status));
      return page(found.map(summaryOf), query);
    },
    get: async (uuid) => {
      const operation = this.#operation(uuid);
      if (operation.files === undefined) throw fault('OPERATION_NOT_FOUND', { operation: uuid });
      const started_at = operation.response.created_at;
      const processes = [...operation.processes].map(([spid, { result, command, running }]) => {
        const { exit_code = -1 } = result.state ?? {};
        return { spid, pid: spid, command, started_at, ...(!running && { exit_code }) };
      });
      return { ...summaryOf(operation), processes };
    },
    snapshot: async (uuid, { tag = null } = {}) => {
      const operation = this.#operation(uuid);
      const { status, result_image_uuid: last, image_uuid: opened } = operation.response;
      if (isFinished(status)) throw fault('INSTANCE_NOT_RUNNING', { operation: uuid, status });
      const parent = last ?? opened ?? '';
      const files = new Map(operation.files);
      const before = this.image(parent).files;
      if ([...files].every(([path, bytes]) => before.get(path)?.equals(bytes))) {
        return { image: parent, changed: false, frozen_ms: 0 };
      }
      const image = this.publish({ files, command: 'snapshot' }, parent, uuid, tag);
      operation.response = { ...operation.response, result_image_uuid: image };
      return { image, changed: true, frozen_ms: 0 };
    },
    close: async (uuid, { keep, tag = null } = {}) => {
      const operation = this.#operation(uuid);
      const { status, metadata, image_uuid: parent } = operation.response;
      if (isFinished(status)) throw fault('INSTANCE_NOT_RUNNING', { operation: uuid, status });
      for (const process of operation.processes.values()) process.kill('KILL');
      const kept = keep ?? !('disposable' in metadata && metadata.disposable === true);
      const content = { files: operation.files ?? new Map<string, Buffer>(), command: 'snapshot' };
      this.#finish(operation, 'SUCCESS', kept ? this.publish(content, parent, uuid, tag) : null);
    },
  });

  readonly operations: Mutable<ConTree['operations']> = this.scripted('operations', {
    list: async (query = {}) => {
      const all = [...this.#operations.values()].map(({ response }) => response).toReversed();
      const found = all.filter(
        ({ status, kind }) => (query.status ?? status) === status && (query.kind ?? kind) === kind,
      );
      return page(found, query);
    },
    events: (uuid, query = {}, signal) => this.#events(this.#operation(uuid).log, query, signal),
    get: async (uuid) => {
      return this.#operation(uuid).response;
    },
    cancel: async (uuid) => {
      const operation = this.#operation(uuid);
      const { status } = operation.response;
      if (isFinished(status)) throw fault('OPERATION_FINISHED', { operation: uuid, status });
      operation.cancelled = true;
      for (const process of operation.processes.values()) process.kill('KILL');
      await operation.ended;
    },
  });

  readonly processes: Mutable<ConTree['processes']> = this.scripted('processes', {
    start: async (uuid, spec) => {
      const operation = this.#operation(uuid);
      const { status } = operation.response;
      if (isFinished(status)) throw fault('INSTANCE_NOT_RUNNING', { operation: uuid, status });
      const { files, processes } = operation;
      const spid = processes.size + (files === undefined ? 1 : 2);
      void this.#start(operation, spid, spec, (path, content) => files?.set(path, Buffer.from(content)));
      return { spid };
    },
    get: async (uuid, spid) => {
      return this.#process(uuid, spid).result;
    },
    kill: async (uuid, spid, { signal: name = 'TERM' } = {}) => {
      this.#process(uuid, spid).kill(name);
    },
    write: async (uuid, spid, input) => {
      this.#process(uuid, spid).feed(streamBytes(input), input.close ?? true);
    },
    resize: async (uuid, spid, size) => {
      this.#process(uuid, spid).sizes.push(size);
    },
  });

  readonly system: Mutable<ConTree['system']> = this.scripted('system', {
    whoami: async () => {
      const executing = this.#withStatus('EXECUTING').length;
      return {
        token_uuid: '00000000-0000-0000-0000-000000000000',
        token_expiration: null,
        permissions: Object.fromEntries(PERMISSIONS.map((name) => [name, true])),
        limits: { instance_max_timeout: 3600 },
        operations_stat: { EXECUTING: executing },
      };
    },
    gc: async () => {
      const freed = { freed_bytes: 0, templates: 0, freed_memory_bytes: 0, used_memory_bytes: 0 };
      return { images: 0, layers: 0, files: this.#files.size, events: 0, ...freed, usage: [] };
    },
    doctor: async () => {
      return { version: 'scripted', checks: [{ name: 'driver', status: 'ok', detail: 'scripted' }] };
    },
  });

  async *#events(log: ScriptedLog, query: EventQuery, signal?: AbortSignal): AsyncGenerator<OperationEvent> {
    for (let next = (query.since ?? -1) + 1; ; next += 1) {
      while (next >= log.events.length) {
        if (!query.follow || log.events.at(-1)?.type === 'completion') return;
        await log.changed(signal);
      }
      const event = log.events[next];
      if (event !== undefined && (query.spid ?? event.spid) === event.spid) yield event;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.disposed = true;
    for (const { processes } of this.#operations.values())
      for (const process of processes.values()) process.kill('KILL');
  }

  #import({ registry, tag = null, timeout = 300 }: ImageImportRequest): { uuid: string } {
    if (tag !== null && !isTag(tag)) throw fault('TAG_INVALID', { tag });
    const operation = this.#open('image_import', { registry: { url: registry.url }, tag, timeout }, null);
    const { uuid } = operation.response;
    const end = (): void => {
      if (registry.url.includes('missing')) this.#finish(operation, 'FAILED', null, `no image ${registry.url}`);
      else if (operation.cancelled) this.#finish(operation, 'CANCELLED', null);
      else this.#finish(operation, 'SUCCESS', this.publish({ files: new Map(), command: 'import' }, null, uuid, tag));
    };
    if (this.importsEnd === undefined) end();
    else operation.ended = this.importsEnd.then(end);
    return { uuid };
  }

  #operation(uuid: string): ScriptedOperation {
    const found = this.#operations.get(uuid);
    if (found === undefined) throw fault('OPERATION_NOT_FOUND', { operation: uuid });
    return found;
  }

  #process(uuid: string, spid: number): ScriptedProcess {
    const operation = this.#operation(uuid);
    const found = operation.processes.get(spid);
    if (found === undefined) throw fault('SUBPROCESS_NOT_FOUND', { operation: uuid, spid });
    return found;
  }

  #withStatus(status: string): ScriptedOperation[] {
    return [...this.#operations.values()].filter(({ response }) => response.status === status);
  }

  #open(
    kind: 'instance' | 'image_import',
    metadata: OperationResponse['metadata'],
    image_uuid: string | null,
    files?: Map<string, Buffer>,
  ): ScriptedOperation {
    const response: OperationResponse = {
      uuid: randomUUID(),
      kind,
      status: 'EXECUTING',
      error: null,
      created_at: new Date().toISOString(),
      duration: 0,
      image_size: null,
      consumed_cpu: null,
      consumed_memory: null,
      image_uuid,
      result_image_uuid: null,
      metadata,
      result: null,
    };
    const processes = new Map<number, ScriptedProcess>();
    const log = new ScriptedLog();
    const operation = { response, cancelled: false, ended: Promise.resolve(), log, processes, ...(files && { files }) };
    this.#operations.set(response.uuid, operation);
    return operation;
  }

  #finish(
    operation: ScriptedOperation,
    status: 'SUCCESS' | 'FAILED' | 'CANCELLED',
    image: string | null,
    error: string | null = null,
  ): void {
    if (isFinished(operation.response.status)) return;
    const tag = image === null ? null : this.image(image).image.tag;
    operation.response = { ...operation.response, status, error, result_image_uuid: image, result: { image, tag } };
    const data = { status, duration_ms: 1, result_image_uuid: image, error, image_size_bytes: null };
    operation.log.add('completion', data, 0);
  }

  async #execute(operation: ScriptedOperation, request: InstanceSpawnRequest, parent: ScriptedImage): Promise<void> {
    const written = new Map(parent.files);
    const env = Object.entries(request.env ?? {}).map(([name, value]) => [name, value ?? ''] as const);
    const spec: ExecSpec = { ...request, env: Object.fromEntries(env) };
    const process = await this.#start(operation, 1, spec, (path, content) => written.set(path, Buffer.from(content)));
    const { metadata } = operation.response;
    if ('result' in metadata)
      operation.response = { ...operation.response, metadata: { ...metadata, result: process.result } };
    if (operation.cancelled) return this.#finish(operation, 'CANCELLED', null);
    const changed = written.size > parent.files.size;
    const content = { files: written, command: request.command };
    const image = changed ? this.publish(content, parent.image.uuid, operation.response.uuid, null) : parent.image.uuid;
    this.#finish(operation, 'SUCCESS', request.disposable ? null : image);
  }

  async #start(
    operation: ScriptedOperation,
    spid: number,
    spec: ExecSpec,
    write: (path: string, content: string) => void,
  ): Promise<ScriptedProcess> {
    const process = new ScriptedProcess(spid, operation.log);
    operation.processes.set(spid, process);
    const { stdin } = spec;
    process.feed(stdin === undefined ? Buffer.alloc(0) : streamBytes(stdin), stdin?.close ?? true);
    const [command = '', ...args] = spec.shell ? spec.command.split(' ') : [spec.command, ...(spec.args ?? [])];
    // As in the engine, the caller has the operation's id before its first event.
    await new Promise(setImmediate);
    await process.run(this.programs[command], { ...spec, command, args }, write);
    return process;
  }
}

function summaryOf({ response, processes, files }: ScriptedOperation): InstanceSummary {
  const { uuid, image_uuid, status, created_at, result_image_uuid, metadata } = response;
  const open = !isFinished(status);
  const running = [...processes.values()].filter((process) => process.running).length;
  return {
    uuid,
    image: image_uuid ?? '',
    status,
    disposable: 'disposable' in metadata && metadata.disposable === true,
    created_at,
    last_used_at: created_at,
    idle_at: open && running === 0 ? created_at : null,
    ends_at: open ? created_at : null,
    sandbox: files === undefined ? null : 'gvisor',
    processes: running,
    snapshots: 0,
    last_snapshot: result_image_uuid,
    ports: [],
  };
}
