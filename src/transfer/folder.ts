import { closeSync, constants, lstatSync, openSync, readdirSync, readlinkSync, type BigIntStats } from 'node:fs';
import { bytesOf, toByteString, type ByteString } from '../std/bytes.ts';

/** Node has no name for it. A descriptor of this kind only stands for a place: no permission to read it is needed. */
const O_PATH = 0o10000000;
const FOLDER_FLAGS = O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/** Not blocking: who puts a FIFO in the place of a file must not make us wait for its other end. */
const READ_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOCTTY;

/**
 * An open directory of this machine. What is in it is reached through the descriptor, one name at a time and never
 * through a symlink, so renaming or replacing directories meanwhile cannot lead anywhere else (what `openat2` with
 * RESOLVE_BENEATH does; Node has no `openat`, but Linux has /proc/self/fd).
 *
 * Methods throw errors of the system, with `code`. Calls are synchronous: each takes microseconds, and there are
 * thousands of them.
 */
export class Folder implements Disposable {
  readonly #descriptor: number;
  /** Where names in it begin. */
  readonly #prefix: ByteString;

  private constructor(descriptor: number) {
    this.#descriptor = descriptor;
    this.#prefix = `/proc/self/fd/${descriptor}/`;
  }

  /** `path` is absolute and has no symlink at its end. */
  static open(path: string): Folder {
    return new Folder(openSync(path, FOLDER_FLAGS));
  }

  /** A path to the name that no rename of directories changes, for calls that take one. */
  at(name: ByteString): Buffer {
    return bytesOf(this.#prefix + name);
  }

  folder(name: ByteString): Folder {
    return new Folder(openSync(this.at(name), FOLDER_FLAGS));
  }

  /** Opens for reading; the caller closes the descriptor and looks whether it is a regular file. */
  openToRead(name: ByteString): number {
    return openSync(this.at(name), READ_FLAGS);
  }

  names(): ByteString[] {
    return readdirSync(this.#prefix, { encoding: 'latin1' });
  }

  /** Of the name itself, also when it is a symlink. */
  info(name: ByteString): BigIntStats {
    return lstatSync(this.at(name), { bigint: true });
  }

  /** Undefined when there is nothing of that name. */
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

/** The names of a path as the system takes them. */
export function namesOf(path: string): ByteString[] {
  return toByteString(path)
    .split('/')
    .filter((name) => name !== '');
}

/** `ENOENT` and its like; undefined for anything that is no error of the system. */
export function systemCode(error: unknown): string | undefined {
  const code = error instanceof Error && 'syscall' in error && 'code' in error ? error.code : undefined;
  return typeof code === 'string' ? code : undefined;
}
