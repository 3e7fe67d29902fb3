import { BlobStore } from './blobs.ts';
import { BuildStepStore } from './builds/steps.ts';
import type { EventStore } from './events.ts';
import { FileStore } from './files.ts';
import { ImageStore } from './images.ts';
import { ImportStore } from './imports.ts';
import { LayerStore } from './layers.ts';
import { OperationStore } from './operations.ts';
import type { StoreParts, StoreTransactionOptions } from './parts.ts';
import type { StackStore } from './stacks.ts';
import { RecordedRunStore } from './recorded-runs.ts';
import { StateStore } from './states.ts';
import { TagStore } from './tags.ts';

/**
 * View of the store for one project: items of other projects do not exist here, whatever id is given. Contents
 * (`layers`, the bytes of `files`) are shared but only reachable through the project's own items. `events` are
 * addressed by the UUID of an operation: callers look the operation up here first.
 */
export class ProjectStore {
  readonly project: string;
  readonly layers: LayerStore;
  readonly blobs: BlobStore;
  readonly images: ImageStore;
  readonly tags: TagStore;
  readonly imports: ImportStore;
  readonly buildSteps: BuildStepStore;
  readonly files: FileStore;
  readonly states: StateStore;
  readonly operations: OperationStore;
  readonly recordedRuns: RecordedRunStore;
  readonly #parts: StoreParts;

  constructor(parts: StoreParts, project: string) {
    this.#parts = parts;
    this.project = project;
    this.layers = new LayerStore(parts, project);
    this.blobs = new BlobStore(parts.database, project);
    this.tags = new TagStore(parts.database, project);
    this.imports = new ImportStore(parts.database, project);
    this.buildSteps = new BuildStepStore(parts.database, project);
    this.images = new ImageStore(parts, project, this.tags);
    this.files = new FileStore(parts, project);
    this.states = new StateStore(parts, project, this.files);
    this.operations = new OperationStore(parts.database, project);
    this.recordedRuns = new RecordedRunStore(parts, project);
  }

  get events(): EventStore {
    return this.#parts.events;
  }

  /** Returns the stacks of images; callers know their UUIDs from this view. */
  get stacks(): StackStore {
    return this.#parts.stacks;
  }

  /** Returns the absolute path of the data directory. */
  get directory(): string {
    return this.#parts.directory;
  }

  /** Returns the folder for temporary files, on the same file system; it is emptied by every open. */
  get tmp(): string {
    return this.#parts.folder('tmp');
  }

  /** Protects everything looked up or published from gc until it is disposed. */
  hold(): Disposable {
    return this.#parts.holds.hold();
  }

  /** Protects exactly these layers from gc until it is disposed. */
  pin(layers: readonly string[]): Disposable {
    return this.#parts.holds.pin(layers);
  }

  /**
   * Commits everything `body` writes, and the events appended before and in it, atomically. It publishes several things
   * together, such as a result image with the end of its operation. `body` must be synchronous.
   */
  transaction<Value>(body: () => Value, options: StoreTransactionOptions = {}): Value {
    return this.#parts.transaction(body, options);
  }
}
