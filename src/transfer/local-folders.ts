import type { ConTree } from '../contract/contree.ts';
import { fault } from '../contract/errors.ts';
import { downloadFile, makeLink } from './download.ts';
import { systemCode, type Folder } from './folder.ts';
import { HashCache, type CacheOptions } from './hash-cache.ts';
import { IgnoreRules } from './rules/ignore-rules.ts';
import type {
  DownloadReport,
  DownloadRequest,
  LinkRequest,
  LocalFiles,
  SyncReport,
  SyncRequest,
  TransferOptions,
  UploadReport,
} from './local-files.ts';
import { NotRegular, OpenFile } from './open-file.ts';
import { Roots, type Place } from './roots.ts';
import { isSecretContent, isSecretPath, SECRET_LOOK_BYTES } from './rules/secrets.ts';
import { userRules } from './rules/user-rules.ts';
import { syncFolder } from './sync.ts';
import { uploadLocalFile } from './upload.ts';

export interface LocalFoldersOptions {
  /** Absolute paths of the folders that may be read and written, with everything below. */
  readonly roots: readonly string[];
  readonly cache: CacheOptions;
  /** Origin of the file names: the user, or a model that may have been tricked into naming them. */
  readonly namedBy: 'user' | 'model';
  /** Ignore file of the user for all repositories where git's configuration names none; without it they have no rules. */
  readonly userIgnoreFile?: string;
  /** True when the user lets a model write start-up files, which are otherwise refused. */
  readonly startUpFiles?: boolean;
}

/** Transfers from and to local folders (Linux: requires /proc/self/fd). */
export class LocalFolders implements LocalFiles {
  readonly #roots: Roots;
  readonly #cache: CacheOptions;
  readonly #options: Omit<LocalFoldersOptions, 'roots' | 'cache'>;

  constructor({ roots, cache, ...options }: LocalFoldersOptions) {
    this.#roots = new Roots(roots);
    this.#cache = cache;
    this.#options = options;
  }

  /**
   * Syncs a folder. Faults: PATH_OUTSIDE_ROOT, LOCAL_FILE_NOT_FOUND, ARGUMENT_INVALID, PATTERN_INVALID, SYNC_LIMIT, and the
   * engine's.
   */
  async sync(contree: ConTree, request: SyncRequest, options: TransferOptions): Promise<SyncReport> {
    using place = this.#roots.placeOfTarget(request.source);
    using folder = sourceFolder(place, request.source);
    using cache = HashCache.open(this.#cache);
    const { gitignore = true, git = false, exclude } = request;
    const { userIgnoreFile: file } = this.#options;
    const forAll = gitignore && file !== undefined ? await userRules(file, options.signal) : [];
    const ignored = IgnoreRules.ofSource(place, { gitignore, git, userRules: forAll, exclude });
    return await syncFolder(contree, { folder, cache: cache.folder(place.path), ignored }, request, options);
  }

  /**
   * Uploads a file. Faults: PATH_OUTSIDE_ROOT, LOCAL_FILE_NOT_FOUND, ARGUMENT_INVALID when it is not a readable file,
   * SECRET_DENIED for what `sync` leaves out, and the engine's.
   */
  async upload(contree: ConTree, path: string, options: TransferOptions): Promise<UploadReport> {
    using place = this.#roots.placeOfTarget(path);
    using file = sourceFile(place, path);
    if (this.#options.namedBy === 'model' && isSecret(place.below, file)) throw fault('SECRET_DENIED', { path });
    return await uploadLocalFile(contree, file, options);
  }

  /**
   * Downloads a file of an image; folders that are missing on the way to its destination are made. Faults:
   * PATH_OUTSIDE_ROOT, DESTINATION_EXISTS, ARGUMENT_INVALID, STARTUP_FILE_DENIED, and the engine's.
   */
  async download(contree: ConTree, request: DownloadRequest, options: TransferOptions): Promise<DownloadReport> {
    const { namedBy, startUpFiles = false } = this.#options;
    // With the user's leave such a file may be read by programs, but what runs it is still the user's to say.
    const refused = namedBy === 'model' && (!startUpFiles || request.executable);
    const into = { roots: this.#roots, startUpFiles: !refused };
    return await downloadFile(contree, into, request, options);
  }

  /** Reports whether a symlink would stay in the allowed folder in which it is. */
  keepsLink({ path, target }: LinkRequest): boolean {
    return this.#roots.keeps(path, target);
  }

  /** Makes a symlink, as `makeLink` does. Faults: PATH_OUTSIDE_ROOT, ARGUMENT_INVALID. */
  link(request: LinkRequest): void {
    makeLink(this.#roots, request);
  }
}

function isSecret(path: string, file: OpenFile): boolean {
  return isSecretPath(path) || isSecretContent(path, file.head().subarray(0, SECRET_LOOK_BYTES));
}

function sourceFolder({ folder, name, path }: Place, given: string): Folder {
  try {
    return folder.folder(name === '' ? '.' : name);
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOTDIR' && folder.find(name)?.isDirectory() !== true) {
      throw fault('ARGUMENT_INVALID', {
        reason: `${JSON.stringify(given)} is not a directory; upload takes single files`,
      });
    }
    throw code === undefined ? error : fault('LOCAL_FILE_NOT_FOUND', { path }, { cause: error });
  }
}

function sourceFile({ folder, name, path }: Place, given: string): OpenFile {
  try {
    return new OpenFile(folder.openToRead(name === '' ? '.' : name));
  } catch (error) {
    if (error instanceof NotRegular) {
      throw fault('ARGUMENT_INVALID', {
        reason: `${JSON.stringify(given)} is not a regular file; rsync takes directories`,
      });
    }
    const code = systemCode(error);
    if (code === 'EACCES') throw fault('ARGUMENT_INVALID', { reason: `${JSON.stringify(given)} is not readable` });
    throw code === undefined ? error : fault('LOCAL_FILE_NOT_FOUND', { path }, { cause: error });
  }
}
