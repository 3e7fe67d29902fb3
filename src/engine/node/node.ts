import { type ContreeError, fault, isFault } from '../../contract/errors.ts';
import { inParallel } from '../../std/abort.ts';
import { SharedWork } from './shared-work.ts';
import type { FetchFile, SharedFile } from '../../store/files.ts';
import type { Layer } from '../../store/layers.ts';
import type { StoredOperation } from '../../store/operations.ts';
import type { SharedImage } from '../../store/shared/images.ts';
import { type FetchLayer, receiveLayer } from '../../store/shared/receive.ts';
import type { Store } from '../../store/store.ts';
import type { Housekeeping } from '../housekeeping.ts';
import type { Operations } from '../operations.ts';

/** Image of the catalogue with what is known of its layers. */
export interface ImageToAdopt extends Omit<SharedImage, 'layers'> {
  /** Bottom first. */
  readonly layers: readonly Layer[];
}

/** Layers of one image that are fetched at once. */
const FETCHED_AT_ONCE = 3;
/** Space left free on the disk when layers are fetched, for what runs meanwhile. */
const SPARE_BYTES = 64 * 1024 * 1024;

export interface EngineNodeParts {
  readonly store: Store;
  readonly operations: Operations;
  readonly housekeeping: Housekeeping;
}

/**
 * The engine as one node of a cluster: its store is a cache of what the cluster's catalogue has. Images and ended operations of
 * other nodes are adopted under their own UUIDs, and evicted again, the least recently used first.
 */
export class EngineNode {
  readonly #parts: EngineNodeParts;
  readonly #images = new SharedWork<string>();
  readonly #layers = new SharedWork<string>();
  readonly #files = new SharedWork<string>();
  readonly #logs = new SharedWork<string>();

  constructor(parts: EngineNodeParts) {
    this.#parts = parts;
  }

  /** Waits until an operation has ended completely, with its sandbox; returns at once for one that is not running here. */
  async ended(operation: string): Promise<void> {
    await this.#parts.operations.ended(operation);
  }

  /** Ends an operation that belongs to another node now, with the fault that says so. One that has ended stays as it is. */
  stop(operation: string, reason: ContreeError): void {
    this.#parts.operations.abandon(operation, reason);
  }

  /** Reports whether an image is here with its layers. */
  hasImage(project: string, uuid: string): boolean {
    return this.#parts.store.sharedImages.has(project, uuid);
  }

  /** Returns an operation of this store. */
  operation(project: string, uuid: string): StoredOperation | undefined {
    return this.#parts.store.forProject(project).operations.find(uuid);
  }

  /**
   * Makes an image of the catalogue available here, with whole layers, and keeps it until the result is disposed. Several that
   * want the same image or layer share the work. Rejects with DISK_FULL, OBJECT_DAMAGED, and faults of `fetch`.
   */
  async adoptImage(project: string, image: ImageToAdopt, fetch: FetchLayer, signal: AbortSignal): Promise<Disposable> {
    const { store } = this.#parts;
    const pin = store.pin([image.uuid, ...image.layers.map(({ digest }) => digest)]);
    try {
      if (!this.#isWhole(project, image.uuid)) {
        await this.#images.run(image.uuid, (either) => this.#adopt(project, image, fetch, either), signal);
      }
      return pin;
    } catch (error) {
      pin[Symbol.dispose]();
      throw error;
    }
  }

  /**
   * Forgets images that the catalogue has deleted, children before their parents. Returns those that stay for now because
   * something here uses them.
   */
  forgetImages(uuids: readonly string[]): string[] {
    const { store, operations } = this.#parts;
    return store.sharedImages.forget(uuids, (image) => operations.userOf(image));
  }

  /** Yields the log of an operation as it is now, compressed, without its completion. */
  exportLog(operation: string): AsyncIterable<Uint8Array> {
    return this.#parts.store.sharedOperations.exportLog(operation);
  }

  /** Marks an ended operation of ours as one whose end and log the catalogue has: from now on gc may forget it here. */
  shared(operation: string): void {
    this.#parts.store.sharedOperations.mark(operation);
  }

  /**
   * Makes an ended operation of the catalogue available here, in place of what this node knows of it. `log` returns its log
   * as `exportLog` gave it. Rejects with DISK_FULL, OBJECT_DAMAGED, and faults of `log`.
   */
  async adoptOperation(
    project: string,
    operation: StoredOperation,
    log: (signal: AbortSignal) => AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): Promise<void> {
    const { sharedOperations } = this.#parts.store;
    if (sharedOperations.has(project, operation.uuid)) return;
    await this.ended(operation.uuid);
    // The end of our own is marked in the same moment.
    if (sharedOperations.has(project, operation.uuid)) return;
    const adopt = async (either: AbortSignal): Promise<void> => {
      await sharedOperations.adopt(project, operation, log(either), either);
    };
    await this.#logs.run(operation.uuid, adopt, signal);
  }

  /**
   * Makes a file of the catalogue available here under its UUID, and keeps it until the result is disposed. Rejects with
   * DISK_FULL, OBJECT_DAMAGED, and faults of `fetch`.
   */
  async adoptFile(project: string, file: SharedFile, fetch: FetchFile, signal: AbortSignal): Promise<Disposable> {
    const store = this.#parts.store.forProject(project);
    const pin = store.pin([file.sha256]);
    try {
      const adopt = async (either: AbortSignal): Promise<void> => store.files.adopt(file, fetch, either);
      if (store.files.find(file.uuid) === undefined || !store.files.isWhole(file.sha256)) {
        await this.#files.run(`${project} ${file.sha256}`, adopt, signal);
      }
      return pin;
    } catch (error) {
      pin[Symbol.dispose]();
      throw error;
    }
  }

  /**
   * Evicts images of the catalogue, the least recently used first, until the store has at most so many bytes. What is used or
   * only here stays, so it may remain larger.
   */
  async evict(bytesMax: number): Promise<{ readonly images: number; readonly freedBytes: number }> {
    return await this.#parts.housekeeping.evict(bytesMax);
  }

  /** Reports whether an image is here and its layers are as they were published. */
  #isWhole(project: string, uuid: string): boolean {
    const { store } = this.#parts;
    return store.sharedImages.use(project, uuid) && store.layers.versions(store.stacks.of(uuid)) !== undefined;
  }

  async #adopt(project: string, image: ImageToAdopt, fetch: FetchLayer, signal: AbortSignal): Promise<void> {
    const { store } = this.#parts;
    // Looked at again: files that were only touched are whole.
    if (store.sharedImages.use(project, image.uuid) && (await this.#areWhole(store.stacks.of(image.uuid)))) return;
    const missing: Layer[] = [];
    for (const layer of image.layers) if (!(await this.#areWhole([layer.digest]))) missing.push(layer);
    await this.#makeSpace(missing);
    const bounds = { atOnce: FETCHED_AT_ONCE, signal };
    await inParallel(missing, bounds, (layer, either) => this.#fetch(layer, fetch, either));
    const layers = image.layers.map(({ digest }) => digest);
    // Layers that were merged here may be what is damaged.
    if (this.hasImage(project, image.uuid)) store.stacks.replace(store.stacks.of(image.uuid), layers);
    else store.sharedImages.publish(store.forProject(project).images, project, { ...image, layers });
  }

  async #areWhole(digests: readonly string[]): Promise<boolean> {
    const { layers } = this.#parts.store;
    if (digests.some((digest) => layers.find(digest) === undefined)) return false;
    try {
      await layers.files(digests);
      return true;
    } catch (error) {
      if (isFault(error, 'STORE_CORRUPT')) return false;
      throw error;
    }
  }

  async #fetch(layer: Layer, fetch: FetchLayer, signal: AbortSignal): Promise<void> {
    const receive = async (either: AbortSignal): Promise<void> => {
      await receiveLayer(this.#parts.store.layers, layer, fetch(layer, either), either);
    };
    await this.#layers.run(layer.digest, receive, signal);
  }

  /** Evicts what the disk needs for these layers. Rejects with DISK_FULL when that is not enough. */
  async #makeSpace(missing: readonly Layer[]): Promise<void> {
    const { store } = this.#parts;
    const needed = missing.reduce((sum, { bytes }) => sum + bytes, 0);
    if (needed === 0) return;
    const lacking = async (): Promise<number> => needed + SPARE_BYTES - (await store.freeBytes());
    const bytes = await lacking();
    if (bytes <= 0) return;
    await this.evict(Math.max(0, store.bytes() - bytes));
    if ((await lacking()) > 0) throw fault('DISK_FULL', {});
  }
}
