import { ProtocolError, ProtocolErrorCode } from '@modelcontextprotocol/server';
import type { ContreeError } from '../contract/errors.ts';
import { asFault, failureText } from '../tools/index.ts';

/** A request that is no tool call, and where what nobody foresaw is written to. */
export interface Asked {
  readonly method: string;
  readonly signal: AbortSignal;
  readonly log: (line: string) => void;
}

/**
 * Returns the error of a failed request. A bug shows an incident id only, because its text may contain a secret or a
 * host path; protocol errors and errors caused by the end of the request stay unchanged.
 */
export function protocolError(
  error: unknown,
  { method, signal, log }: Asked,
  special: (fault: ContreeError, text: string) => ProtocolError | undefined = () => undefined,
): unknown {
  if (signal.aborted || error instanceof ProtocolError) return error;
  const fault = asFault(error, log);
  const text = failureText(fault, method);
  const ours = fault.class === 'bug' || fault.class === 'unavailable';
  const code = ours ? ProtocolErrorCode.InternalError : ProtocolErrorCode.InvalidParams;
  return special(fault, text) ?? new ProtocolError(code, text);
}
