/** How a call reached us, as far as it decides what the end of a call means. */
export interface Channel {
  readonly transport: 'stdio' | 'http';
  readonly era: 'legacy' | 'modern';
}

/**
 * Whether an aborted call means that the work it started is to stop (mcp.md §2.4):
 * over HTTP a closed stream is a cancellation since 2026-07-28 and was none before; over stdio a cancellation comes as a
 * message whose reason tells a user's from a client's own timeout; the end of the connection never is one.
 */
export function meansStop(reason: unknown, channel: Channel, onDisconnect: 'stop' | 'detach'): boolean {
  if (channel.transport === 'http') return channel.era === 'modern' && onDisconnect === 'stop';
  const text = reason instanceof Error ? reason.message : String(reason);
  return !/connection closed|tim(?:ed|e)[ -]?out/iu.test(text);
}
