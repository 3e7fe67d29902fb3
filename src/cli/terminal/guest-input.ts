import { fstatSync } from 'node:fs';
import type { ConTree } from '../../contract/contree.ts';
import { isFault } from '../../contract/errors.ts';
import type { ClosableStreamRepr } from '../../contract/run.ts';
import { streamRepr } from '../../contract/stream.ts';
import type { Input } from '../host.ts';

/** What the command reads: nothing, or what we read. `first` opens its standard input and leaves it open. */
export type GuestInput = { readonly kind: 'none' } | { readonly kind: 'forward'; readonly first: ClosableStreamRepr };

const WRITE_BYTES_MAX = 256 * 1024;

/** A pipe or a file is forwarded; a terminal only when asked; `/dev/null` and a closed input are nothing. */
export function stdinOf(
  stdin: Input,
  options: { readonly interactive?: boolean; readonly tty?: boolean; readonly detach?: boolean },
): GuestInput {
  const wanted = options.interactive || options.tty || (!stdin.isTTY && hasInput(stdin));
  if (!wanted || options.detach) return { kind: 'none' };
  return { kind: 'forward', first: { value: '', encoding: 'ascii', close: false } };
}

function hasInput(stdin: Input): boolean {
  const { fd } = stdin as Input & { fd?: number };
  if (fd === undefined) return true;
  try {
    const info = fstatSync(fd);
    return info.isFIFO() || info.isSocket() || info.isFile();
  } catch {
    return false;
  }
}

/** Sends input until it ends, then the end. Stops quietly once the process no longer reads. */
export async function forwardInput(
  input: AsyncIterable<Uint8Array>,
  contree: ConTree,
  operation: string,
  signal: AbortSignal,
): Promise<void> {
  const send = async (bytes: Uint8Array, close: boolean): Promise<void> =>
    contree.writeStdin(operation, 1, { ...streamRepr(bytes), close }, signal);
  try {
    for await (const chunk of input) {
      for (let offset = 0; offset < chunk.byteLength; offset += WRITE_BYTES_MAX) {
        await send(chunk.subarray(offset, offset + WRITE_BYTES_MAX), false);
      }
    }
    await send(new Uint8Array(), true);
  } catch (error) {
    if (signal.aborted || isFault(error, 'INSTANCE_NOT_RUNNING', 'OPERATION_FINISHED')) return;
    throw error;
  }
}
