import { fault } from '../../contract/errors.ts';
import type { LocalFiles, TransferOptions } from '../../transfer/local-files.ts';
import type { ToolCall } from './tool.ts';

const PROGRESS_MS_MIN = 1_000;

/** The allowed folders of this machine, or PATH_OUTSIDE_ROOT when there are none. */
export function requireLocalFiles(call: ToolCall, tool: string): LocalFiles {
  if (call.localFiles === undefined) throw fault('PATH_OUTSIDE_ROOT', { path: tool, roots: 'none' });
  return call.localFiles;
}

/** The call's signal and progress in the form that transfers want, at most one step a second. */
export function transferOptions({ signal, progress }: ToolCall): TransferOptions {
  if (progress === undefined) return { signal };
  let sentMs = -Infinity;
  return {
    signal,
    onProgress: ({ done, total, what }) => {
      if (performance.now() - sentMs < PROGRESS_MS_MIN) return;
      sentMs = performance.now();
      progress({ progress: done, ...(total !== undefined && { total }), message: what });
    },
  };
}
