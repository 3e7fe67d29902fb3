import { ProtocolError, ProtocolErrorCode, type CallToolResult } from '@modelcontextprotocol/server';
import type { ContreeError } from '../contract/errors.ts';
import { asFault, failureText, type Reply } from '../tools/index.ts';

/** Error code of JSON-RPC 2.0. */
export const INVALID_REQUEST = -32_600;

/** Request other than a tool call, with the log for unexpected errors. */
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

/** Returns a tool's reply in the form of the protocol. */
export function resultOf(reply: Reply): CallToolResult {
  const text = { type: 'text' as const, text: reply.text };
  // Not as structured content: clients of the first SDK hold that against the output schema even of an error.
  if (!reply.ok) return { isError: true, content: [text], _meta: { 'contree/error': reply.fault.toJSON() } };
  const links = reply.links.map((link) => ({ type: 'resource_link' as const, ...link }));
  return { content: [text, ...links], structuredContent: reply.structured };
}
