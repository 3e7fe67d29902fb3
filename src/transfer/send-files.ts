import type { ConTree } from '../contract/contree.ts';
import { Cursor } from './cursor.ts';
import { systemCode, type Folder } from './folder.ts';
import type { LocalFile } from './local-set.ts';
import { NotRegular, type OpenFile } from './open-file.ts';

/** Enough to keep both sides busy; more only queue. */
const AT_ONCE = 8;

export interface SendOptions {
  readonly signal: AbortSignal;
  readonly onFile: (done: number) => void;
}

/**
 * Uploads files of a folder and returns those that were sent. Each gets the digest and size of what was really read,
 * which is another one when somebody wrote since it was looked at; a file that is not there any more is marked `gone`.
 */
export async function sendFiles(
  contree: ConTree,
  folder: Folder,
  files: readonly LocalFile[],
  { signal, onFile }: SendOptions,
): Promise<LocalFile[]> {
  const sent: LocalFile[] = [];
  using cursor = new Cursor(folder);
  const failed = new AbortController();
  const either = AbortSignal.any([signal, failed.signal]);
  const left = files.values();
  const work = async (): Promise<void> => {
    for (const file of left) {
      either.throwIfAborted();
      using open = reopen(cursor, file);
      if (open === undefined) continue;
      const { sha256, size } = await contree.uploadFile(contentOf(open, either), either);
      Object.assign(file, { sha256, size });
      onFile(sent.push(file));
    }
  };
  const workers = Array.from({ length: AT_ONCE }, async () => {
    try {
      await work();
    } catch (error) {
      failed.abort(error);
      throw error;
    }
  });
  // All have ended before the folders are closed; the first failure is what stopped the others.
  const ended = await Promise.allSettled(workers);
  if (ended.some(({ status }) => status === 'rejected')) throw either.reason;
  return sent;
}

/** Undefined, and the file marked, when it cannot be read any more. */
function reopen(cursor: Cursor, file: LocalFile): OpenFile | undefined {
  try {
    return cursor.file(file.path);
  } catch (error) {
    if (systemCode(error) === undefined && !(error instanceof NotRegular)) throw error;
    file.gone = true;
    return undefined;
  }
}

async function* contentOf(open: OpenFile, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const small = open.small();
  if (small === undefined) yield* open.content(signal);
  else if (small.byteLength > 0) yield small;
}
