import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

/*
 * A server that only answers, so its delays are the machine's. Prints its address to standard output and exits when its
 * standard input ends.
 */

const server = createServer((_, response) => response.end('well\n')).listen(0, '127.0.0.1', () => {
  process.stdout.write(`http://127.0.0.1:${(server.address() as AddressInfo).port}/\n`);
});
process.stdin.resume().once('end', () => {
  server.close();
  server.closeAllConnections();
});
