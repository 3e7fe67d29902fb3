/** @typedef {{ readonly path: string, readonly file: File }} PickedFile `path` is relative to the folder */

/** Largest number of files that are read from a folder; the server has the same bound. */
const FILES_MAX = 200_000;

/**
 * Returns the files of a folder that was chosen. Their paths begin with the folder's name, which the context does not have.
 * @param {Iterable<File>} files
 * @returns {PickedFile[]}
 */
export function pickedFiles(files) {
  return [...files].map((file) => ({ path: file.webkitRelativePath.split('/').slice(1).join('/') || file.name, file }));
}

/**
 * Returns the files that were dropped: the content of a folder, or files themselves.
 * @param {DataTransfer | null} transfer
 * @returns {Promise<PickedFile[]>}
 */
export async function droppedFiles(transfer) {
  // Entries are there only until the event has been handled.
  const entries = [...(transfer?.items ?? [])].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  const [only] = entries;
  /** @type {PickedFile[]} */
  const found = [];
  const roots = entries.length === 1 && only && isDirectory(only) ? await children(only) : entries;
  /** @type {(readonly [string, FileSystemEntry])[]} */
  const pending = roots.map((entry) => [entry.name, entry]);
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const [path, entry] = next;
    if (isDirectory(entry)) {
      for (const child of await children(entry)) pending.push([`${path}/${child.name}`, child]);
    } else found.push({ path, file: await fileOf(/** @type {FileSystemFileEntry} */ (entry)) });
    if (found.length > FILES_MAX) throw new Error(`The folder has more than ${FILES_MAX} files.`);
  }
  return found;
}

/**
 * @param {FileSystemEntry} entry
 * @returns {entry is FileSystemDirectoryEntry}
 */
function isDirectory(entry) {
  return entry.isDirectory;
}

/**
 * @param {FileSystemDirectoryEntry} directory
 * @returns {Promise<FileSystemEntry[]>}
 */
async function children(directory) {
  const reader = directory.createReader();
  /** @type {FileSystemEntry[]} */
  const all = [];
  for (;;) {
    /** @type {FileSystemEntry[]} */
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return all;
    all.push(...some);
  }
}

/**
 * @param {FileSystemFileEntry} entry
 * @returns {Promise<File>}
 */
function fileOf(entry) {
  return new Promise((resolve, reject) => entry.file(resolve, reject));
}
