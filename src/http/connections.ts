import { readFile } from 'node:fs/promises';
import type { Server, Socket } from 'node:net';
import { limits } from '../contract/limits.ts';
import { isMapped, parseAddress } from '../std/ip/address.ts';

/** Maximum number of concurrent connections of a TCP listener. */
export interface ConnectionBounds {
  readonly total: number;
  /** Maximum per address, or for IPv6 per /64 network, which is what one customer gets. */
  readonly perAddress: number;
}

/** Usual descriptor limit of a process, for systems without /proc. */
const DESCRIPTORS_USUAL = 1_024;

/**
 * Limits that leave descriptors for other uses: half for the owner's socket, runs, layers and the database, and of the
 * rest half for addresses other than the one with the most connections.
 */
export async function connectionBounds(): Promise<ConnectionBounds> {
  const total = Math.min(limits.connectionsMax, Math.floor((await descriptorsMax()) / 2));
  return { total, perAddress: Math.ceil(total / 2) };
}

/** Returns the soft limit of open files (proc_pid_limits(5)). */
async function descriptorsMax(): Promise<number> {
  const table = await readFile('/proc/self/limits', 'utf8').catch(() => '');
  const [, soft] = /^Max open files\s+(\d+|unlimited)/mu.exec(table) ?? [];
  if (soft === undefined) return DESCRIPTORS_USUAL;
  return soft === 'unlimited' ? Infinity : Number(soft);
}

/** Closes connections beyond the limits immediately, before they have sent anything or started a TLS handshake. */
export function boundConnections(server: Server, { total, perAddress }: ConnectionBounds): void {
  server.maxConnections = total;
  const open = new Map<string, number>();
  server.on('connection', (socket: Socket) => {
    const source = sourceOf(socket.remoteAddress ?? '');
    const count = open.get(source) ?? 0;
    if (count >= perAddress) {
      socket.destroy();
      return;
    }
    open.set(source, count + 1);
    socket.once('close', () => {
      const left = (open.get(source) ?? 1) - 1;
      if (left === 0) open.delete(source);
      else open.set(source, left);
    });
  });
}

function sourceOf(address: string): string {
  const parsed = parseAddress(address);
  return parsed === undefined || isMapped(parsed) ? address : parsed.slice(0, 2).join(':');
}
