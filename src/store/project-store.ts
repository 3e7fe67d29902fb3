import { BlobStore } from './blobs.ts';
import type { EventStore } from './events.ts';
import { FileStore } from './files.ts';
import { ImageStore } from './images.ts';
import { ImportStore } from './imports.ts';
import { LayerStore } from './layers.ts';
import { OperationStore } from './operations.ts';
import type { StoreParts, StoreTransactionOptions } from './parts.ts';
import type { StackStore } from './stacks.ts';
import { StateStore } from './states.ts';
import { TagStore } from './tags.ts';

/**
 * The store as one project sees it: what belongs to others does not exist here, whatever id it is asked for by. Contents
 * (`layers`, the bytes of `files`) are shared, but are only reached through what the project has itself.
 *
 * `events` go by the UUID of an operation: look the operation up here first.
 */
export class ProjectStore {
  readonly project: string;
  readonly layers: LayerStore;
  readonly blobs: BlobStore;
  readonly images: ImageStore;
  readonly tags: TagStore;
  readonly imports: ImportStore;
  readonly files: FileStore;
  readonly states: StateStore;
  readonly operations: OperationStore;
  readonly #parts: StoreParts;

  constructor(parts: StoreParts, project: string) {
    this.#parts = parts;
    this.project = project;
    this.layers = new LayerStore(parts, project);
    this.blobs = new BlobStore(parts.database, project);
    this.tags = new TagStore(parts.database, project);
    this.imports = new ImportStore(parts.database, project);
    this.images = new ImageStore(parts, project, this.tags);
    this.files = new FileStore(parts, project);
    this.states = new StateStore(parts, project, this.files);
    this.operations = new OperationStore(parts.database, project);
  }

  get events(): EventStore {
    return this.#parts.events;
  }

  /** Layers of images whose UUIDs are known from here. */
  get stacks(): StackStore {
    return this.#parts.stacks;
  }

  /** Absolute path of the data directory. */
  get directory(): string {
    return this.#parts.directory;
  }

  /** Scratch space on the same file system; emptied by every open. */
  get tmp(): string {
    return this.#parts.tmp;
  }

  /** Keeps from gc what is looked up or published until it is disposed. */
  hold(): Disposable {
    return this.#parts.holds.hold();
  }

  /**
   * All that `body` writes, and the events appended before and in it, or nothing. Makes several things visible at
   * once, such as a result image with the end of its operation. `body` must not wait.
   */
  transaction<Value>(body: () => Value, options: StoreTransactionOptions = {}): Value {
    return this.#parts.transaction(body, options);
  }
}
