import { fault } from '../../contract/errors.ts';
import { present } from '../../std/present.ts';
import type { LocalFiles, TransferOptions } from '../../transfer/local-files.ts';
import type { ToolCall } from './tool.ts';

const PROGRESS_MS_MIN = 1_000;

/** Returns the local files, for access to `path`. Throws PATH_OUTSIDE_ROOT when no folder is allowed. */
export function requireLocalFiles(call: ToolCall, path: string): LocalFiles {
  if (call.localFiles === undefined) throw fault('PATH_OUTSIDE_ROOT', { path, roots: '' });
  return call.localFiles;
}

/** Returns the call's signal and progress for transfers, at most one step per second. */
export function transferOptions({ signal, progress }: ToolCall): TransferOptions {
  if (progress === undefined) return { signal };
  let sentMs = -Infinity;
  return {
    signal,
    onProgress: ({ done, total, what }) => {
      if (performance.now() - sentMs < PROGRESS_MS_MIN) return;
      sentMs = performance.now();
      progress(present({ progress: done, total, message: what }));
    },
  };
}
