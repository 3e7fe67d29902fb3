import type { ConTree, DoctorReport, GcOptions, GcReport, WhoAmIResponse } from '../contract/contree.ts';
import { fault } from '../contract/errors.ts';
import type { EventQuery, OperationEvent } from '../contract/event.ts';
import type { DirectoryStateEntry, DirectoryStateOffer, File, FileQuery, FileResponse } from '../contract/file.ts';
import type { ArchiveImportRequest, Image, ImageImportRequest, ImageQuery, Lineage } from '../contract/image.ts';
import { isTag } from '../contract/image.ts';
import type * as Inspect from '../contract/inspect.ts';
import { limits } from '../contract/limits.ts';
import type { OperationQuery, OperationResponse, OperationSummary } from '../contract/operation.ts';
import type { ClosableStreamRepr, ExecSpec, InstanceResult, InstanceSpawnRequest } from '../contract/run.ts';
import { ReaderPool } from '../erofs/reader-pool.ts';
import type { SandboxDriver } from '../sandbox/driver.ts';
import type { Store } from '../store/store.ts';
import { Admission, type Resources } from './admission.ts';
import { runCapacity, runCost, usualConcurrency } from './capacity.ts';
import { operationEvents } from './event-view.ts';
import { Compactor } from './compaction.ts';
import { diagnose, runGc, whoAmI } from './health.ts';
import { ImageTrees } from './image-trees.ts';
import { executeImport, recordArchiveImport, recordImport, type Importer, type ImportWork } from './import.ts';
import { Injector } from './inject.ts';
import { injectedSet } from './injected-set.ts';
import { Inspection } from './inspect.ts';
import { SILENT_LOG, type EngineLog } from './log.ts';
import { Operations } from './operations.ts';
import { processResult, responseOf, summaryOf } from './result.ts';
import { planExec, planRun } from './run-plan.ts';
import { recordRun } from './run-record.ts';
import { executeRun, type RunPlace } from './run.ts';
import { signalNumber } from './signals.ts';

export interface EngineOptions {
  readonly store: Store;
  readonly driver: SandboxDriver;
  readonly importer: Importer;
  /** Version of the product, for doctor. */
  readonly version: string;
  /** Runs at the same time; 0 (default) leaves it to cores and memory. */
  readonly concurrency?: number;
  readonly log?: EngineLog;
}

/**
 * The product itself: operations on a store with a sandbox driver. Store and driver are opened before it and disposed
 * after it by whoever composes them.
 */
export class Engine implements ConTree {
  readonly #store: Store;
  readonly #driver: SandboxDriver;
  readonly #importer: Importer;
  readonly #version: string;
  readonly #capacity: Resources;
  readonly #runs: Admission;
  readonly #imports = new Admission({ imports: limits.importsAtOnce });
  readonly #readers = new ReaderPool();
  readonly #trees: ImageTrees;
  readonly #inspection: Inspection;
  readonly #place: RunPlace;
  readonly #operations: Operations;
  readonly #compactor: Compactor;

  private constructor(options: EngineOptions) {
    const { store, driver, log = SILENT_LOG } = options;
    this.#store = store;
    this.#driver = driver;
    this.#importer = options.importer;
    this.#version = options.version;
    this.#capacity = runCapacity(options.concurrency ?? 0);
    this.#runs = new Admission(this.#capacity);
    this.#trees = new ImageTrees(store, this.#readers);
    this.#inspection = new Inspection(store, this.#trees);
    this.#compactor = new Compactor(store, this.#readers, log);
    const injector = new Injector(store, this.#readers);
    this.#place = { store, driver, readers: this.#readers, injector, compactor: this.#compactor };
    this.#operations = new Operations(store, log);
    const lost = this.#operations.recover();
    if (lost > 0) log.warn({ operations: lost }, 'ended operations that a stopped engine left unfinished');
  }

  /** Ends what a dead engine left unfinished, then is ready. The driver gets ready in the background. */
  static open(options: EngineOptions): Engine {
    const engine = new Engine(options);
    const { log = SILENT_LOG } = options;
    options.driver.warm().catch((error: unknown) => log.warn({ err: error }, 'the sandbox driver is not ready'));
    return engine;
  }

  /** Operations that have not ended. */
  get activeCount(): number {
    return this.#operations.activeCount;
  }

  /** Waits for work in the background that nobody asked for. */
  async settled(): Promise<void> {
    await this.#compactor.settled();
  }

  /** Accepts nothing more and waits for what runs; what is left after the grace ends FAILED with ENGINE_STOPPED. */
  async stop(graceMs: number): Promise<void> {
    await this.#operations.stop(graceMs);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop(0);
    await this.#compactor[Symbol.asyncDispose]();
    await this.#trees[Symbol.asyncDispose]();
    await this.#readers[Symbol.asyncDispose]();
  }

  async whoami(): Promise<WhoAmIResponse> {
    const usual = runCost(limits.guestCpusDefault, limits.guestMemoryMibDefault);
    return whoAmI(this.#store, usualConcurrency(this.#capacity, usual));
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
    const gone = this.#store.images.delete(uuid, options.cascade ?? false, (id) => this.#operations.userOf(id));
    await this.#trees.closeIdle();
    return gone;
  }

  async importImage(request: ImageImportRequest): Promise<{ uuid: string }> {
    const bring: ImportWork['bring'] = (context, signal) =>
      this.#importer.fromRegistry(request.registry, context, signal);
    return this.#startImport(request, JSON.stringify(recordImport(request)), bring);
  }

  async importArchive(request: ArchiveImportRequest): Promise<{ uuid: string }> {
    this.#store.files.get(request.file);
    const bring: ImportWork['bring'] = (context, signal) => this.#importer.fromArchive(request, context, signal);
    return this.#startImport(request, JSON.stringify(recordArchiveImport(request)), bring);
  }

  async exportImage(image: string, signal?: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
    return this.#inspection.export(image, signal);
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
      // Resolved and looked up once, now: what is accepted can no longer be "not found".
      const image = this.#store.images.resolve(request.image);
      const plan = planRun(request, image.config);
      const injected = injectedSet(this.#store, request);
      const command = [request.command, ...(request.args ?? [])].join(' ');
      const uuid = this.#operations.start({
        kind: 'instance',
        request: JSON.stringify(recordRun(request)),
        image: image.uuid,
        admission: this.#runs,
        cost: runCost(plan.cpus, plan.memoryMib),
        work: (context) => executeRun(this.#place, { image, plan, injected, command }, context),
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
    return responseOf(this.#store, this.#operations.get(operation));
  }

  async cancelOperation(operation: string): Promise<void> {
    this.#operations.cancel(operation);
  }

  events(operation: string, query: EventQuery, signal?: AbortSignal): AsyncIterable<OperationEvent> {
    return operationEvents(this.#store, operation, query, signal);
  }

  async exec(operation: string, spec: ExecSpec): Promise<{ spid: number }> {
    const instance = this.#operations.instance(operation);
    const { spid } = await instance.start(planExec(spec, instance.main));
    return { spid };
  }

  async getSubprocess(operation: string, spid: number): Promise<InstanceResult> {
    return processResult(this.#store, this.#store.operations.get(operation), spid);
  }

  async killSubprocess(operation: string, spid: number, signalName = 'TERM'): Promise<void> {
    const number = signalNumber(signalName);
    await this.#operations.instance(operation).kill(spid, number);
  }

  async writeStdin(operation: string, spid: number, input: ClosableStreamRepr): Promise<void> {
    await this.#operations.instance(operation).write(spid, input);
  }

  async resizeTerminal(
    operation: string,
    spid: number,
    size: { readonly columns: number; readonly rows: number },
  ): Promise<void> {
    await this.#operations.instance(operation).resize(spid, size);
  }

  async gc(options: GcOptions): Promise<GcReport> {
    if (options.dryRun !== true) await this.#trees.closeIdle();
    const usedBy = (image: string): string | undefined => this.#operations.userOf(image);
    return runGc(this.#store, options, usedBy, (path) => this.#readers.evict(path));
  }

  async doctor(options: { readonly verify?: boolean }, signal?: AbortSignal): Promise<DoctorReport> {
    const checks = await diagnose(
      this.#store,
      this.#driver,
      options.verify ?? false,
      signal ?? new AbortController().signal,
    );
    return { version: this.#version, checks };
  }

  #startImport(
    { tag, timeout }: Pick<ImageImportRequest, 'tag' | 'timeout'>,
    request: string,
    bring: ImportWork['bring'],
  ): { uuid: string } {
    if (tag && !isTag(tag)) throw fault('TAG_INVALID', { tag });
    const published = (image: string): void => this.#compactor.schedule(image);
    const timeoutSeconds = timeout ?? limits.importTimeoutSecondsDefault;
    const uuid = this.#operations.start({
      kind: 'image_import',
      request,
      admission: this.#imports,
      cost: { imports: 1 },
      work: (context) => executeImport({ store: this.#store, tag, timeoutSeconds, bring, published }, context),
      release: this.#store.hold(),
    });
    return { uuid };
  }
}
