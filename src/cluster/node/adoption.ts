import { gunzipSync, gzipSync } from 'node:zlib';
import { z } from 'zod';
import { DirectoryStateEntry, type DirectoryState } from '../../contract/file.ts';
import type { ImageConfig } from '../../contract/image.ts';
import { limits } from '../../contract/limits.ts';
import type { Engine } from '../../engine/engine.ts';
import type { FetchLayer } from '../../store/shared/receive.ts';
import { collect } from '../../std/bytes.ts';
import { inParallel } from '../../std/abort.ts';
import type { FetchFile } from '../../store/files.ts';
import type { Store } from '../../store/store.ts';
import type { ClusterDatabase } from '../catalogue/database.ts';
import type { CatalogueObjects } from '../catalogue/objects.ts';
import { CatalogueImages, type CatalogueImage } from '../catalogue/images.ts';
import type { CatalogueOperation } from '../catalogue/operations.ts';
import { CatalogueUploads } from '../catalogue/uploads.ts';

/** Images whose use is announced to other nodes. */
const ANNOUNCED_MAX = 200;
/** Images that are remembered: they never change. */
const REMEMBERED_MAX = 1_000;
/** Contents that are sent or fetched at once. */
const AT_ONCE = 8;
/** Largest object with the entries of a directory state: a path and its fields are bounded, too. */
const STATE_BYTES_MAX = 1024 * 1024 * 1024;

/** An image that is here until it is disposed. */
export interface AdoptedImage extends Disposable {
  readonly uuid: string;
  readonly config: ImageConfig;
}

/** Makes available to the own engine what the catalogue has: images, files, directory states, ended operations. */
export class Adoption {
  readonly #database: ClusterDatabase;
  readonly #objects: CatalogueObjects;
  readonly #store: Store;
  readonly #engine: Engine;
  readonly #used = new Set<string>();
  readonly #remembered = new Map<string, CatalogueImage>();

  constructor(parts: {
    readonly database: ClusterDatabase;
    readonly objects: CatalogueObjects;
    readonly store: Store;
    readonly engine: Engine;
  }) {
    this.#database = parts.database;
    this.#objects = parts.objects;
    this.#store = parts.store;
    this.#engine = parts.engine;
  }

  /** Images that are here, used last first, as other nodes shall know. */
  get images(): string[] {
    return [...this.#used].toReversed();
  }

  /** Adopts the image of a UUID or tag. Faults: IMAGE_NOT_FOUND, DISK_FULL, OBJECT_DAMAGED and others of the object storage. */
  async image(project: string, source: string, signal: AbortSignal): Promise<AdoptedImage> {
    const images = new CatalogueImages(this.#database, project);
    return await this.known(project, await images.get(source), signal);
  }

  /**
   * Returns the image of a UUID or tag, without asking the catalogue for one that was found before: it may have been deleted
   * since. Faults: IMAGE_NOT_FOUND.
   */
  async find(project: string, source: string): Promise<CatalogueImage> {
    const key = (uuid: string): string => `${project} ${uuid.toLowerCase()}`;
    const remembered = this.#remembered.get(key(source));
    if (remembered !== undefined) return remembered;
    const image = await new CatalogueImages(this.#database, project).get(source);
    this.#remembered.set(key(image.uuid), image);
    const [oldest = ''] = this.#remembered.keys();
    if (this.#remembered.size > REMEMBERED_MAX) this.#remembered.delete(oldest);
    return image;
  }

  /** Reports whether an image is here, as far as is remembered. */
  has(image: string): boolean {
    return this.#used.has(image);
  }

  /** Adopts an image that was looked up already. */
  async known(project: string, image: CatalogueImage, signal: AbortSignal): Promise<AdoptedImage> {
    const { node } = this.#engine;
    const { uuid, config } = image;
    // Rows of ancestors are needed only once.
    const isHere = node.hasImage(project, uuid);
    const ancestors = isHere ? [] : await new CatalogueImages(this.#database, project).ancestors(uuid);
    const pin = await node.adoptImage(project, { ...image, ancestors }, this.#fetch, signal);
    this.use(uuid);
    return { uuid, config, [Symbol.dispose]: () => pin[Symbol.dispose]() };
  }

  /** Notes that an image is here and was used. */
  use(uuid: string): void {
    this.#used.delete(uuid);
    this.#used.add(uuid);
    const [oldest = uuid] = this.#used;
    if (this.#used.size > ANNOUNCED_MAX) this.#used.delete(oldest);
  }

  /** Adopts an operation that has ended, with its log. */
  async operation(operation: CatalogueOperation, signal: AbortSignal): Promise<void> {
    const { project, uuid } = operation;
    const log = (either: AbortSignal): AsyncIterable<Uint8Array> => this.#logOf(operation, either);
    await this.#engine.node.adoptOperation(project, { ...operation, uuid }, log, signal);
  }

  /** Makes files of the project available here, by sha256. Faults: UPLOAD_NOT_FOUND. */
  async files(project: string, sha256s: readonly string[], signal: AbortSignal): Promise<void> {
    const { files } = this.#store.forProject(project);
    const lacking = [...new Set(sha256s)].filter((sha256) => !files.isWhole(sha256));
    const uploads = new CatalogueUploads(this.#database, project);
    await inParallel(lacking, { atOnce: AT_ONCE, signal }, async (sha256, either) => {
      const { uuid, size, created_at: createdAt, updated_at: updatedAt } = await uploads.get(sha256);
      const times = { createdAtMs: Date.parse(createdAt), updatedAtMs: Date.parse(updatedAt) };
      const fetch: FetchFile = (_file, ends) =>
        this.#objects.read({ key: `files/${sha256}`, sha256, bytes: size }, ends);
      const file = { uuid, sha256, size, ...times };
      using _pin = await this.#engine.node.adoptFile(project, file, fetch, either);
    });
  }

  /** Stores files of the own engine in the object storage. */
  async share(
    project: string,
    shared: readonly { readonly sha256: string; readonly size: number }[],
    signal: AbortSignal,
  ): Promise<void> {
    const { files } = this.#store.forProject(project);
    const unique = [...new Map(shared.map((file) => [file.sha256, file])).values()];
    await inParallel(unique, { atOnce: AT_ONCE, signal }, async ({ sha256, size }, either) => {
      const path = await files.asFile(sha256);
      await this.#objects.put({ key: `files/${sha256}`, sha256, bytes: size, path }, either);
    });
  }

  /** Makes a directory state available here. Faults: DIRECTORY_STATE_NOT_FOUND, UPLOAD_NOT_FOUND. */
  async state(project: string, id: string, signal: AbortSignal): Promise<void> {
    const found = await new CatalogueUploads(this.#database, project).state(id);
    const { states } = this.#store.forProject(project);
    if (isHere(() => states.ensure(id))) return;
    const { sha256, bytes } = found.object;
    const object = this.#objects.read({ key: `states/${sha256}`, sha256, bytes }, signal);
    const json = gunzipSync(await collect(object, STATE_BYTES_MAX), { maxOutputLength: STATE_BYTES_MAX });
    const entries = z
      .array(DirectoryStateEntry)
      .max(limits.directoryStateEntriesMax)
      .parse(JSON.parse(json.toString()));
    await this.files(
      project,
      entries.flatMap((entry) => entry.sha256 ?? []),
      signal,
    );
    await states.offer(entries);
  }

  /** Stores a directory state of the own engine in the object storage, and records it. */
  async shareState(project: string, state: DirectoryState, signal: AbortSignal): Promise<void> {
    const entries = await this.#store.forProject(project).states.entries(state.id);
    const object = await this.#objects.putBytes('states/', gzipSync(JSON.stringify(entries)), signal);
    await new CatalogueUploads(this.#database, project).recordState(state, object);
  }

  readonly #fetch: FetchLayer = ({ digest, bytes }, signal) =>
    this.#objects.read({ key: `layers/${digest}`, sha256: digest, bytes }, signal);

  async *#logOf({ uuid, log }: CatalogueOperation, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    if (log === undefined) {
      yield gzipSync('');
    } else if (log === 'row') {
      const [row] = await this.#database.rows<{ log: Buffer }>('SELECT log FROM operations WHERE uuid = $1', uuid);
      yield row?.log ?? gzipSync('');
    } else {
      yield* this.#objects.read({ key: `logs/${log.object}`, sha256: log.object, bytes: log.bytes }, signal);
    }
  }
}

function isHere(ensure: () => unknown): boolean {
  try {
    ensure();
    return true;
  } catch {
    return false;
  }
}
