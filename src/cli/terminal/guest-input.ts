import { fstatSync } from 'node:fs';
import type { ConTree } from '../../contract/contree.ts';
import { fault, isFault } from '../../contract/errors.ts';
import { limits } from '../../contract/limits.ts';
import type { ClosableStreamRepr } from '../../contract/run.ts';
import { streamRepr } from '../../contract/stream.ts';
import { collect } from '../../std/bytes.ts';
import { atMost } from '../../std/streams.ts';
import type { TerminalInput } from '../host.ts';

/**
 * Standard input of the command: none, a copy of ours (`first` opens it and leaves it open), or all of ours, read before it
 * starts.
 */
export type GuestInput =
  | { readonly kind: 'none' }
  | {
      readonly kind: 'forward' | 'whole';
      readonly first: ClosableStreamRepr;
      /** True when our input is read by others after the command: what it does not take is left to them. */
      readonly shared?: boolean;
    };

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

/** Reads all of the input before the command starts. Rejects with ARGUMENT_INVALID when it is larger than a request takes. */
export async function wholeInput(stdin: AsyncIterable<Uint8Array>): Promise<GuestInput> {
  const most = limits.stdinBytesMax;
  const excess = (): Error => fault('ARGUMENT_INVALID', { reason: `standard input: it is larger than ${most} bytes` });
  return { kind: 'whole', first: streamRepr(await collect(atMost(stdin, most, excess), most)) };
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

/** Yields input until it ends or the signal fires; what has arrived by then and was not taken is given back. */
export async function* sharedInput(stdin: TerminalInput, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let came = Promise.withResolvers<void>();
  let ended = false;
  const onData = (chunk: Uint8Array): void => {
    chunks.push(chunk);
    came.resolve();
  };
  const onStop = (): void => {
    ended = true;
    came.resolve();
  };
  stdin.on('data', onData).once('end', onStop);
  signal.addEventListener('abort', onStop, { once: true });
  stdin.resume();
  try {
    for (;;) {
      const chunk = signal.aborted ? undefined : chunks.shift();
      if (chunk !== undefined) yield chunk;
      else if (ended || signal.aborted) return;
      else {
        await came.promise;
        came = Promise.withResolvers();
      }
    }
  } finally {
    stdin.off('data', onData).off('end', onStop);
    stdin.pause();
    if (chunks.length > 0) stdin.unshift(Buffer.concat(chunks));
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
