/** Transport facts of a call that determine what its abort means. */
export interface Channel {
  readonly transport: 'stdio' | 'http';
  readonly era: 'legacy' | 'modern';
}

/**
 * Reports whether an aborted call also stops the work it started. Over HTTP a closed stream is a cancellation since
 * protocol 2026-07-28, but not before; over stdio a cancellation is a message whose reason distinguishes the user from
 * a timeout of the client; the end of the connection is never one.
 */
export function meansStop(reason: unknown, channel: Channel, onDisconnect: 'stop' | 'detach'): boolean {
  if (channel.transport === 'http') return channel.era === 'modern' && onDisconnect === 'stop';
  const text = reason instanceof Error ? reason.message : String(reason);
  return !/connection closed|tim(?:ed|e)[ -]?out/iu.test(text);
}
