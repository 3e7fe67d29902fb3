import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A Unix socket that forwards to another one and counts the bytes. */
export interface CountingSocket extends AsyncDisposable {
  readonly socket: string;
  /** Bytes of the answers so far. */
  readonly received: number;
}

/** Listens on a new socket and forwards every connection to `target`. */
export async function countingSocket(target: string): Promise<CountingSocket> {
  // Clients refuse a socket in a folder that others may write to.
  const folder = await mkdtemp(join(tmpdir(), 'contree-counting-'));
  const socket = join(folder, 'socket');
  const open = new Set<Socket>();
  let received = 0;
  const server = createServer((client) => {
    const upstream = connect(target);
    upstream.on('data', (chunk: Buffer) => (received += chunk.byteLength));
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      open.add(from);
      from.pipe(to);
      from.on('error', () => to.destroy());
      from.on('close', () => {
        open.delete(from);
        to.destroy();
      });
    }
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  return {
    socket,
    get received() {
      return received;
    },
    [Symbol.asyncDispose]: async () => {
      for (const each of open) each.destroy();
      await new Promise((resolve) => server.close(resolve));
      await rm(folder, { recursive: true, force: true });
    },
  };
}
