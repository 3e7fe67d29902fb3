import { access, chmod, lstat, readdir, rm, statfs } from 'node:fs/promises';
import { constants } from 'node:fs';
import { join } from 'node:path';
import { fault, isFault } from '../contract/errors.ts';
import { DEFAULT_PROJECT } from '../contract/names.ts';
import { makeFolders } from '../std/files.ts';
import { Database } from './database.ts';
import { diskFault, emptyDirectory, isMissing } from './disk.ts';
import { collectGarbage, type CollectionRequest, type StoreReport } from './gc/gc.ts';
import { countByStatus, unfinishedOperations, type StoredOperation } from './operations.ts';
import { STORE_FOLDERS, StoreParts } from './parts.ts';
import { ProjectStore } from './project-store.ts';
import { SharedImages } from './shared/images.ts';
import { dropIncomplete, SharedOperations } from './shared/operations.ts';
import { QuotaStore } from './quotas.ts';
import { storeBytes } from './gc/usage.ts';

/** Mode bits of the group and of everybody else. */
const OTHERS = 0o077;

/** Stores of projects kept at once. One that is dropped while it is used works on, by itself. */
const PROJECTS_KEPT_MAX = 256;

/**
 * Everything durable on the host, in one directory that one process owns (`docs/data-dir.md` describes the life of each
 * file). Content-addressed items are published before anything refers to them; a crash leaves at most garbage. Terms: a
 * `layer` is one immutable EROFS file, a `file` one uploaded content, a `state` a synced set of files, a `hold` keeps
 * what is being used from gc. A `project` is a namespace of images, tags, files, states and operations; the store
 * itself shows the default one, and `forProject` any.
 */
export class Store extends ProjectStore implements AsyncDisposable {
  readonly #parts: StoreParts;
  /** Images and operations that a cluster's catalogue has, of all projects. */
  readonly sharedImages: SharedImages;
  readonly sharedOperations: SharedOperations;
  readonly #projects = new Map<string, ProjectStore>();
  readonly quotas: QuotaStore;

  private constructor(parts: StoreParts) {
    super(parts, DEFAULT_PROJECT);
    this.#parts = parts;
    this.sharedImages = new SharedImages(parts);
    this.sharedOperations = new SharedOperations(parts);
    this.quotas = new QuotaStore(parts.database);
  }

  /**
   * Opens or creates the data directory. Rejects with STORE_LOCKED while another process owns it,
   * STORE_VERSION_UNSUPPORTED when a newer version wrote it, CONFIG_INVALID when the place is not writable,
   * STORE_CORRUPT or DISK_FULL.
   */
  static async open(directory: string): Promise<Store> {
    await makeDirectories(directory);
    const database = Database.open(join(directory, 'store.sqlite'), join(directory, 'lock'));
    try {
      await emptyDirectory(join(directory, 'tmp'));
      const parts = new StoreParts(directory, database);
      dropIncomplete(parts);
      await parts.takeReserve();
      return new Store(parts);
    } catch (error) {
      database[Symbol.dispose]();
      throw error;
    }
  }

  /**
   * Returns the view of a project. A project needs no creation: it exists with its first item. Requests that come at
   * the same time get the same object, so that what they write shares a transaction.
   */
  forProject(project: string): ProjectStore {
    if (project === this.project) return this;
    const store = this.#projects.get(project) ?? new ProjectStore(this.#parts, project);
    // The one used last comes last, so that the first is the one to drop.
    this.#projects.delete(project);
    this.#projects.set(project, store);
    const [oldest = project] = this.#projects.keys();
    if (this.#projects.size > PROJECTS_KEPT_MAX) this.#projects.delete(oldest);
    return store;
  }

  /** Returns the operations of all projects that have not ended, oldest first. */
  unfinished(): StoredOperation[] {
    return unfinishedOperations(this.#parts.database);
  }

  /** Returns the number of operations of all projects by status. */
  operationCounts(): Readonly<Record<string, number>> {
    return countByStatus(this.#parts.database);
  }

  /** Allocates the reserve for the end of operations again, if it was released and there is room. */
  async reserve(): Promise<void> {
    await this.#parts.takeReserve();
  }

  /** Returns the bytes of all layers, uploads and output of all projects. */
  bytes(): number {
    return storeBytes(this.#parts.database);
  }

  /** Returns the bytes that are free on the disk of the data directory. */
  async freeBytes(): Promise<number> {
    const { bavail, bsize } = await statfs(this.directory);
    return bavail * bsize;
  }

  /** Frees everything unused in all projects. */
  async gc(request: CollectionRequest, signal?: AbortSignal): Promise<StoreReport> {
    const { database, holds } = this.#parts;
    const [layers, files, tmp] = STORE_FOLDERS.map((name) => this.#parts.folder(name)) as [string, string, string];
    const place = { database, holds, layers, files, tmp };
    // Freeing space needs some space itself; on a full disk the reserve provides it.
    if (!request.dryRun) this.#parts.giveReserve();
    try {
      return await collectGarbage(place, request, signal);
    } finally {
      await this.#parts.takeReserve();
    }
  }

  /** Returns the problems of the database file itself; empty when it is intact. */
  check(): string[] {
    return this.#parts.database.check();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#parts.database.open) return;
    this.#parts[Symbol.dispose]();
    await rm(join(this.directory, 'lock'), { force: true });
  }
}

/**
 * Takes the rights of the group and of others from a data directory that was there before, and from what lies right in
 * it; below that nobody gets any more. Rejects when the directory is not ours to change.
 */
async function makePrivate(directory: string): Promise<void> {
  const paths = (await readdir(directory)).map((name) => join(directory, name));
  for (const path of [directory, ...paths]) {
    const info = await lstat(path).catch((error: unknown) => {
      if (isMissing(error)) return undefined;
      throw error;
    });
    if (info === undefined || !(info.isFile() || info.isDirectory()) || (info.mode & OTHERS) === 0) continue;
    // Another user's file in our directory becomes unreachable for others together with the directory.
    if (path === directory || info.uid === process.getuid?.()) await chmod(path, info.mode & 0o7777 & ~OTHERS);
  }
}

async function makeDirectories(directory: string): Promise<void> {
  try {
    await makeFolders(directory, 0o700);
    await access(directory, constants.W_OK);
    await makePrivate(directory);
    for (const name of STORE_FOLDERS) await makeFolders(join(directory, name), 0o700);
  } catch (error) {
    const known = diskFault(error);
    if (isFault(known) || !(error instanceof Error)) throw known;
    throw fault('CONFIG_INVALID', { setting: 'data-dir', reason: error.message }, { cause: error });
  }
}
