import { once } from 'node:events';
import { connect } from 'node:net';
import type { Far } from './connection.ts';

/** A connection of the host to an address, given as text so that nothing is looked up. */
export function dialHost(host: string, port: number): Far {
  // The guest's own TCP decides how bytes are gathered into segments.
  const stream = connect({ host, port, allowHalfOpen: true, noDelay: true });
  return { stream, accepted: once(stream, 'connect').then(() => undefined) };
}
