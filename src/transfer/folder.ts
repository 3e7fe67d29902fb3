import { closeSync, constants, lstatSync, openSync, readdirSync, readlinkSync, type BigIntStats } from 'node:fs';
import { bytesOf, toByteString, type ByteString } from '../std/bytes.ts';

/** O_PATH, for which Node has no constant. Such a descriptor only refers to a place: read permission is not needed. */
const O_PATH = 0o10000000;
const FOLDER_FLAGS = O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/** Non-blocking: a FIFO in place of a file must not make us wait for its other end. */
const READ_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOCTTY;

/**
 * An open local directory. Entries are reached through its descriptor, one name at a time and never through a symlink,
 * so renaming or replacing directories meanwhile cannot lead elsewhere (like `openat2` with RESOLVE_BENEATH; Node has
 * no `openat`, but Linux has /proc/self/fd). Methods throw errors of the system, with `code`. Calls are synchronous:
 * each takes microseconds, and there are thousands of them.
 */
export class Folder implements Disposable {
  readonly #descriptor: number;
  /** Path prefix of names in it. */
  readonly #prefix: ByteString;

  private constructor(descriptor: number) {
    this.#descriptor = descriptor;
    this.#prefix = `/proc/self/fd/${descriptor}/`;
  }

  /** Opens the directory at `path`, which is absolute and does not end in a symlink. */
  static open(path: string): Folder {
    return new Folder(openSync(path, FOLDER_FLAGS));
  }

  /** Returns a path to the name that is not affected by renamed directories, for calls that take a path. */
  at(name: ByteString): Buffer {
    return bytesOf(this.#prefix + name);
  }

  folder(name: ByteString): Folder {
    return new Folder(openSync(this.at(name), FOLDER_FLAGS));
  }

  /** Opens an entry for reading; the caller closes the descriptor and checks that it is a regular file. */
  openToRead(name: ByteString): number {
    return openSync(this.at(name), READ_FLAGS);
  }

  names(): ByteString[] {
    return readdirSync(this.#prefix, { encoding: 'latin1' });
  }

  /** Returns the names with what they are, which takes no call for each. */
  entries(): { readonly name: ByteString; readonly isFolder: boolean }[] {
    const entries = readdirSync(this.#prefix, { encoding: 'buffer', withFileTypes: true });
    return entries.map((entry) => ({ name: entry.name.toString('latin1'), isFolder: entry.isDirectory() }));
  }

  /** Returns the metadata of the entry itself, without following a symlink. */
  info(name: ByteString): BigIntStats {
    return lstatSync(this.at(name), { bigint: true });
  }

  /** Returns the metadata of an entry, or undefined when there is none of that name. */
  find(name: ByteString): BigIntStats | undefined {
    return lstatSync(this.at(name), { bigint: true, throwIfNoEntry: false });
  }

  linkTarget(name: ByteString): ByteString {
    return readlinkSync(this.at(name), { encoding: 'latin1' });
  }

  [Symbol.dispose](): void {
    closeSync(this.#descriptor);
  }
}

/** Opens the folder at `names` below `root`, which stays open. */
export function openBelow(root: Folder, names: readonly ByteString[]): Folder {
  let current = root.folder('.');
  for (const name of names) {
    using above = current;
    current = above.folder(name);
  }
  return current;
}

/** Splits a path into names as the system takes them. */
export function namesOf(path: string): ByteString[] {
  return toByteString(path)
    .split('/')
    .filter((name) => name !== '');
}

/** Returns the code of a system error, such as `ENOENT`; undefined for any other error. */
export function systemCode(error: unknown): string | undefined {
  const code = error instanceof Error && 'syscall' in error && 'code' in error ? error.code : undefined;
  return typeof code === 'string' ? code : undefined;
}
