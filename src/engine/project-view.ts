import type { ConTree, DoctorReport, GcOptions, GcReport, WhoAmIResponse } from '../contract/contree.ts';
import { fault } from '../contract/errors.ts';
import type { EventQuery, OperationEvent } from '../contract/event.ts';
import type { DirectoryStateEntry, DirectoryStateOffer, File, FileQuery, FileResponse } from '../contract/file.ts';
import type {
  ArchiveImportRequest,
  Image,
  ImageImportRequest,
  ImagePushRequest,
  ImageQuery,
  Lineage,
  PushEvent,
} from '../contract/image.ts';
import { isTag } from '../contract/image.ts';
import type * as Inspect from '../contract/inspect.ts';
import { limits } from '../contract/limits.ts';
import { isUuid } from '../contract/names.ts';
import type { OperationQuery, OperationResponse, OperationSummary } from '../contract/operation.ts';
import type { ClosableStreamRepr, ExecSpec, InstanceResult, InstanceSpawnRequest } from '../contract/run.ts';
import type { Bounds, Tenant, TokenLimits } from '../contract/token.ts';
import type { ReaderPool } from '../erofs/reader-pool.ts';
import type { SandboxDriver } from '../sandbox/driver.ts';
import type { ProjectStore } from '../store/project-store.ts';
import type { Store } from '../store/store.ts';
import type { Admission, Resources } from './admission.ts';
import { runCost, usualConcurrency } from './capacity.ts';
import type { Compactor } from './compaction.ts';
import { operationEvents } from './event-view.ts';
import { diagnose, whoAmI } from './health.ts';
import type { Housekeeping } from './housekeeping.ts';
import type { ImageTrees } from './image-trees.ts';
import { executeImport, recordArchiveImport, recordImport, type Importer, type ImportWork } from './import.ts';
import type { Injector } from './run/inject.ts';
import { injectedSet } from './run/injected-set.ts';
import { Inspection } from './inspect.ts';
import type { LiveInstance } from './run/live-instance.ts';
import type { Operations } from './operations.ts';
import { type Pusher, pushEvents } from './push.ts';
import { processResult, responseOf, summaryOf } from './result.ts';
import { planExec, planRun } from './run/plan.ts';
import { recordRun } from './run/record.ts';
import { executeRun } from './run/run.ts';
import { signalNumber } from './run/signals.ts';
import type { Statistics } from './statistics.ts';

/** What all projects of an engine work with. */
export interface EngineParts {
  readonly store: Store;
  readonly driver: SandboxDriver;
  readonly importer: Importer;
  readonly pusher: Pusher;
  readonly version: string;
  readonly capacity: Resources;
  readonly runs: Admission;
  readonly imports: Admission;
  readonly readers: ReaderPool;
  readonly trees: ImageTrees;
  readonly injector: Injector;
  readonly compactor: Compactor;
  readonly housekeeping: Housekeeping;
  readonly operations: Operations;
  readonly statistics: Statistics;
}

/**
 * The engine as one tenant sees it: only what is in its project, within the limits of its token. `gc` and `doctor` are
 * about the whole data directory; who may ask for them is decided where tokens are known.
 */
export class ProjectView implements ConTree {
  readonly #parts: EngineParts;
  readonly #tenant: Tenant;
  readonly #store: ProjectStore;
  readonly #inspection: Inspection;

  constructor(parts: EngineParts, tenant: Tenant) {
    this.#parts = parts;
    this.#tenant = tenant;
    this.#store = parts.store.forProject(tenant.project);
    this.#inspection = new Inspection(this.#store, parts.trees);
  }

  /** A view has nothing of its own to end. */
  async [Symbol.asyncDispose](): Promise<void> {}

  async whoami(): Promise<WhoAmIResponse> {
    return whoAmI(this.#store, this.#tenant, this.#bounds());
  }

  async listImages(query: ImageQuery): Promise<Image[]> {
    return this.#store.images.list(query);
  }

  async getImage(image: string): Promise<Image> {
    return this.#store.images.describe(this.#store.images.resolve(image).uuid);
  }

  async setTag(image: string, tag: string): Promise<Image> {
    const { uuid } = this.#store.images.resolve(image);
    this.#store.tags.set(tag, uuid);
    return this.#store.images.describe(uuid);
  }

  async removeTag(image: string, tag?: string): Promise<void> {
    const { uuid } = this.#store.images.resolve(image);
    const tags = this.#store.tags.of(uuid);
    const doomed = tag ?? tags[0];
    if (doomed === undefined) return;
    if (!tags.includes(doomed)) throw fault('TAG_NOT_FOUND', { tag: doomed });
    this.#store.tags.remove(doomed);
  }

  async lineage(image: string): Promise<Lineage> {
    return this.#store.images.lineage(this.#store.images.resolve(image).uuid);
  }

  async deleteImage(image: string, options: { readonly cascade?: boolean } = {}): Promise<string[]> {
    const { uuid } = this.#store.images.resolve(image);
    const cascade = options.cascade ?? false;
    // Who gives one of its names may not know the others; a UUID is the image itself.
    const others = isUuid(image) ? [] : this.#store.tags.of(uuid).filter((name) => image !== `tag:${name}`);
    if (others.length > 0 && !cascade) {
      const shown = [...others.slice(0, 3), ...(others.length > 3 ? ['…'] : [])].join(', ');
      throw fault('IMAGE_IN_USE', { image, by: `its other tag${others.length === 1 ? '' : 's'} ${shown}` });
    }
    const usedBy = (id: string): string | undefined => this.#parts.operations.userOf(id);
    // What frees space must be possible on a full disk.
    const gone = this.#store.transaction(() => this.#store.images.delete(uuid, cascade, usedBy), {
      durable: true,
      essential: true,
    });
    await this.#parts.trees.closeIdle();
    return gone;
  }

  async importImage(request: ImageImportRequest): Promise<{ uuid: string }> {
    const bring: ImportWork['bring'] = (context, signal) =>
      this.#parts.importer.fromRegistry(request.registry, context, signal);
    return this.#startImport(request, JSON.stringify(recordImport(request)), bring);
  }

  async importArchive(request: ArchiveImportRequest): Promise<{ uuid: string }> {
    this.#store.files.get(request.file);
    const bring: ImportWork['bring'] = (context, signal) => this.#parts.importer.fromArchive(request, context, signal);
    return this.#startImport(request, JSON.stringify(recordArchiveImport(request)), bring);
  }

  async exportImage(image: string, signal?: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
    return this.#inspection.export(image, signal);
  }

  async *pushImage(image: string, request: ImagePushRequest, signal?: AbortSignal): AsyncGenerator<PushEvent> {
    const store = this.#store;
    using _hold = store.hold();
    const exported = await this.#inspection.exportRequest(image);
    // Compressing takes a core, as an import does.
    using _place = await this.#parts.imports.enter({ imports: 1 }, signal ?? new AbortController().signal);
    const { pusher } = this.#parts;
    const privateByName = this.#privateByName;
    yield* pushEvents(
      (onProgress, ends) => pusher.push(exported, request, { store, onProgress, privateByName }, ends),
      signal,
    );
  }

  async listDirectory(image: string, path: string): Promise<Inspect.DirectoryList> {
    return this.#inspection.listDirectory(image, path);
  }

  async stat(image: string, path: string): Promise<Inspect.FileItem> {
    return this.#inspection.stat(image, path);
  }

  async openFile(image: string, path: string, range?: Inspect.ReadRange): Promise<Inspect.FileContent> {
    return this.#inspection.openFile(image, path, range);
  }

  async archive(image: string, path: string, signal?: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
    return this.#inspection.archive(image, path, signal);
  }

  async grep(image: string, query: Inspect.GrepQuery, signal?: AbortSignal): Promise<Inspect.GrepResult> {
    return this.#inspection.grep(image, query, signal);
  }

  async diff(from: string, to: string, query?: Inspect.DiffQuery, signal?: AbortSignal): Promise<Inspect.DiffResult> {
    return this.#inspection.diff([from, to], query, signal);
  }

  async uploadFile(body: AsyncIterable<Uint8Array>, signal?: AbortSignal): Promise<FileResponse> {
    using _hold = this.#store.hold();
    return await this.#store.files.write(body, signal);
  }

  async uploadFiles(files: AsyncIterable<Uint8Array>, signal?: AbortSignal): Promise<FileResponse[]> {
    using _hold = this.#store.hold();
    return await this.#store.files.writeMany(files, signal);
  }

  async getFile(id: string): Promise<File> {
    return this.#store.files.get(id);
  }

  async listFiles(query: FileQuery): Promise<File[]> {
    return this.#store.files.list(query);
  }

  async offerDirectoryState(entries: readonly DirectoryStateEntry[]): Promise<DirectoryStateOffer> {
    using _hold = this.#store.hold();
    return await this.#store.states.offer(entries);
  }

  async spawn(request: InstanceSpawnRequest): Promise<{ uuid: string }> {
    const hold = this.#store.hold();
    try {
      const bounded = this.#admitted(request);
      // Resolved and looked up once, now: what is accepted can no longer be "not found".
      const image = this.#store.images.resolve(request.image);
      const plan = planRun(bounded, image.config);
      const injected = injectedSet(this.#store, request);
      const command = [request.command, ...(request.args ?? [])].join(' ');
      const uuid = this.#parts.operations.start({
        store: this.#store,
        token: this.#tenant.token,
        kind: 'instance',
        request: JSON.stringify(recordRun(bounded)),
        image: image.uuid,
        admission: this.#parts.runs,
        cost: runCost(plan.cpus, plan.memoryMib),
        work: (context) =>
          executeRun({ ...this.#parts, store: this.#store }, { image, plan, injected, command }, context),
        release: hold,
      });
      return { uuid };
    } catch (error) {
      hold[Symbol.dispose]();
      throw error;
    }
  }

  async listOperations(query: OperationQuery): Promise<OperationSummary[]> {
    return this.#store.operations.list(query).map(summaryOf);
  }

  async getOperation(operation: string): Promise<OperationResponse> {
    return responseOf(this.#store, this.#parts.operations.current(this.#store.operations.get(operation)));
  }

  async cancelOperation(operation: string): Promise<void> {
    this.#parts.operations.cancel(this.#store.operations.get(operation));
  }

  events(operation: string, query: EventQuery, signal?: AbortSignal): AsyncIterable<OperationEvent> {
    return operationEvents(this.#store, operation, query, signal);
  }

  async exec(operation: string, spec: ExecSpec): Promise<{ spid: number }> {
    const instance = this.#instance(operation);
    const { spid } = await instance.start(planExec(spec, instance.main));
    return { spid };
  }

  async getSubprocess(operation: string, spid: number): Promise<InstanceResult> {
    return processResult(this.#store, this.#store.operations.get(operation), spid);
  }

  async killSubprocess(operation: string, spid: number, signalName = 'TERM'): Promise<void> {
    const number = signalNumber(signalName);
    await this.#instance(operation).kill(spid, number);
  }

  async writeStdin(operation: string, spid: number, input: ClosableStreamRepr): Promise<void> {
    await this.#instance(operation).write(spid, input);
  }

  async resizeTerminal(
    operation: string,
    spid: number,
    size: { readonly columns: number; readonly rows: number },
  ): Promise<void> {
    await this.#instance(operation).resize(spid, size);
  }

  async gc(options: GcOptions): Promise<GcReport> {
    return this.#parts.housekeeping.collect(options);
  }

  async doctor(options: { readonly verify?: boolean }, signal?: AbortSignal): Promise<DoctorReport> {
    const { store, driver, version } = this.#parts;
    const checks = await diagnose(store, driver, options.verify ?? false, signal ?? new AbortController().signal);
    return { version, checks };
  }

  #startImport(
    { tag, timeout }: Pick<ImageImportRequest, 'tag' | 'timeout'>,
    request: string,
    bring: ImportWork['bring'],
  ): { uuid: string } {
    if (tag && !isTag(tag)) throw fault('TAG_INVALID', { tag });
    const { images_import_max_timeout: most } = this.#bounds();
    const timeoutSeconds = boundedTimeout(timeout, limits.importTimeoutSecondsDefault, most);
    const published = (image: string): void => this.#parts.compactor.schedule(image);
    const work = { store: this.#store, privateByName: this.#privateByName };
    const uuid = this.#parts.operations.start({
      store: this.#store,
      token: this.#tenant.token,
      kind: 'image_import',
      request,
      admission: this.#parts.imports,
      cost: { imports: 1 },
      work: (context) => executeImport({ ...work, tag, timeoutSeconds, bring, published }, context),
      release: this.#store.hold(),
    });
    return { uuid };
  }

  /**
   * Naming `127.0.0.1:5000` is permission enough for who sits at this machine. To anybody else it would be a way into
   * its network, which the owner's settings alone open.
   */
  get #privateByName(): boolean {
    return this.#tenant.isOwner === true;
  }

  /** The limits that hold for this tenant: the token's where they are tighter. */
  #bounds(): Bounds {
    const { limits: own = {} } = this.#tenant;
    const usual = runCost(limits.guestCpusDefault, limits.guestMemoryMibDefault);
    const engine = {
      instance_max_timeout: limits.commandTimeoutSecondsMax,
      instance_max_concurrency: usualConcurrency(this.#parts.capacity, usual),
      images_import_max_timeout: limits.importTimeoutSecondsMax,
    };
    const tighter = (name: keyof TokenLimits): number => Math.min(engine[name], own[name] ?? Infinity);
    return {
      instance_max_timeout: tighter('instance_max_timeout'),
      // What the engine runs at once is no bound: more waits in the queue. A token's is one.
      instance_max_concurrency: own.instance_max_concurrency ?? engine.instance_max_concurrency,
      images_import_max_timeout: tighter('images_import_max_timeout'),
    };
  }

  /** The request with the timeout that it gets. Rejects with OPERATION_LIMIT or ARGUMENT_INVALID. */
  #admitted(request: InstanceSpawnRequest): InstanceSpawnRequest {
    const { token, limits: own } = this.#tenant;
    const most = own?.instance_max_concurrency;
    if (token !== undefined && most !== undefined && this.#parts.operations.runsOf(token) >= most) {
      throw fault('OPERATION_LIMIT', { limit: most });
    }
    const { instance_max_timeout: longest } = this.#bounds();
    return { ...request, timeout: boundedTimeout(request.timeout, limits.commandTimeoutSecondsDefault, longest) };
  }

  /** The running instance of an operation of this project. */
  #instance(operation: string): LiveInstance {
    return this.#parts.operations.instance(this.#store.operations.get(operation));
  }
}

/** Seconds. What was asked for is not cut silently; a default is. */
function boundedTimeout(asked: number | undefined, usual: number, most: number): number {
  if (asked === undefined) return Math.min(usual, most);
  if (asked <= most) return asked;
  throw fault('ARGUMENT_INVALID', { reason: `timeout: this token allows at most ${most} seconds` });
}
