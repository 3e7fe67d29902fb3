import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

/*
 * A server that does nothing but answer: as slow as the machine makes it at the moment. Says its address on standard
 * output and ends with its standard input.
 */

const server = createServer((_, response) => response.end('well\n')).listen(0, '127.0.0.1', () => {
  process.stdout.write(`http://127.0.0.1:${(server.address() as AddressInfo).port}/\n`);
});
process.stdin.resume().once('end', () => {
  server.close();
  server.closeAllConnections();
});
