import { fstatSync } from 'node:fs';
import type { ConTree } from '../../contract/contree.ts';
import { isFault } from '../../contract/errors.ts';
import type { ClosableStreamRepr } from '../../contract/run.ts';
import { streamRepr } from '../../contract/stream.ts';
import type { TerminalInput } from '../host.ts';

/** Standard input of the command: none, or a copy of ours. `first` opens it and leaves it open. */
export type GuestInput = { readonly kind: 'none' } | { readonly kind: 'forward'; readonly first: ClosableStreamRepr };

const WRITE_BYTES_MAX = 256 * 1024;

/** Forwards a pipe or a file, and a terminal only on request. `/dev/null` and a closed input count as none. */
export function stdinOf(
  stdin: TerminalInput,
  options: { readonly interactive?: boolean; readonly tty?: boolean; readonly detach?: boolean },
): GuestInput {
  const wanted = options.interactive || options.tty || (!stdin.isTTY && hasInput(stdin));
  if (!wanted || options.detach) return { kind: 'none' };
  return { kind: 'forward', first: { value: '', encoding: 'ascii', close: false } };
}

function hasInput(stdin: TerminalInput): boolean {
  const { fd } = stdin as TerminalInput & { fd?: number };
  if (fd === undefined) return true;
  try {
    const info = fstatSync(fd);
    return info.isFIFO() || info.isSocket() || info.isFile();
  } catch {
    return false;
  }
}

/** A process that ended, or closed its input, while we were about to write. */
const NOBODY_READS = [
  'INSTANCE_NOT_RUNNING',
  'INSTANCE_FINISHED',
  'SUBPROCESS_NOT_FOUND',
  'STDIN_CLOSED',
  'OPERATION_FINISHED',
] as const;

/** Forwards input until it ends, then closes it. Stops quietly once the process no longer reads. */
export async function forwardInput(
  input: AsyncIterable<Uint8Array>,
  contree: ConTree,
  { operation, spid }: { readonly operation: string; readonly spid: number },
  signal: AbortSignal,
): Promise<void> {
  const send = async (bytes: Uint8Array, { close = false } = {}): Promise<void> =>
    contree.processes.write(operation, spid, { ...streamRepr(bytes), close }, signal);
  try {
    for await (const chunk of input) {
      for (let offset = 0; offset < chunk.byteLength; offset += WRITE_BYTES_MAX) {
        await send(chunk.subarray(offset, offset + WRITE_BYTES_MAX));
      }
    }
    await send(new Uint8Array(), { close: true });
  } catch (error) {
    if (signal.aborted || isFault(error, ...NOBODY_READS)) return;
    throw error;
  }
}
