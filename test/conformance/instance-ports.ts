import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { isFault } from '../../src/contract/errors.ts';
import { limits } from '../../src/contract/limits.ts';
import { collect } from '../../src/std/bytes.ts';
import { until } from '../support/time/until.ts';
import type { ContreeUnderTest } from './contree.ts';
import { faults, NOWHERE } from './faults.ts';
import { opened } from './instances.ts';

const HOST = '127.0.0.1';
const ECHO = { command: 'nc', args: ['-ll', '-p', '8070', '-e', 'cat'] };

async function connected(port: number): Promise<Socket> {
  const socket = connect({ port, host: HOST, allowHalfOpen: true });
  await once(socket, 'connect');
  return socket;
}

/** Sends a text to a port of the host, and returns the answer; undefined when the connection is reset. */
async function echoed(port: number, text: string): Promise<string | undefined> {
  const socket = connect({ port, host: HOST, allowHalfOpen: true }).end(text);
  return collect(socket, 1_000).then(
    (bytes) => bytes.toString(),
    () => undefined,
  );
}

/** Publishes ports of an instance, connects to them, and ends the publication in each way. */
export async function instancePorts({ contree, base }: ContreeUnderTest): Promise<void> {
  const uuid = await opened(contree, { image: base, disposable: true, publish: [{ port: 8_070 }] });
  const [first] = (await contree.instances.get(uuid)).ports;
  assert.ok(first !== undefined && first.port === 8_070 && first.host_port > 0);
  assert.equal(await echoed(first.host_port, 'x'), undefined, 'nothing listens yet');
  await contree.processes.start(uuid, ECHO);
  await until(async () => (await echoed(first.host_port, 'ready?')) === 'ready?');
  const long = 'over the wire and back, '.repeat(40);
  assert.equal(await echoed(first.host_port, long), long);
  const again = await contree.instances.publish(uuid, { port: 8_070 });
  assert.deepEqual([again.port, again.host_port], [8_070, first.host_port], 'it stays where it is');

  await using taken = createServer().listen(0, HOST);
  await once(taken, 'listening');
  const occupied = (taken.address() as AddressInfo).port;
  // A tenant who does not administer the machine may not choose at all.
  const refused = (error: unknown): boolean => isFault(error, 'PORT_TAKEN', 'ARGUMENT_INVALID');
  await assert.rejects(contree.instances.publish(uuid, { port: 1, host_port: occupied }), refused);
  await assert.rejects(contree.instances.publish(uuid, { port: 8_070, host_port: occupied }), refused);
  await assert.rejects(contree.instances.publish(NOWHERE, { port: 1 }), faults('OPERATION_NOT_FOUND'));
  await assert.rejects(contree.instances.unpublish(uuid, 1), faults('PORT_NOT_PUBLISHED'));
  for (let port = 1; port < limits.portsPublishedMax; port += 1) await contree.instances.publish(uuid, { port });
  await assert.rejects(contree.instances.publish(uuid, { port: 99 }), faults('PORT_LIMIT'));
  const { ports } = (await contree.instances.list())[0]!;
  assert.deepEqual([ports.length, new Set(ports.map(({ host_port: at }) => at)).size], [16, 16]);

  const open = await connected(first.host_port);
  open.write('x');
  await once(open, 'data');
  assert.equal((await contree.instances.get(uuid)).idle_at, null, 'a connection is use');
  const cut = new Promise((resolve) => open.once('error', resolve).once('close', resolve));
  await contree.instances.unpublish(uuid, 8_070);
  await cut;
  await assert.rejects(connected(first.host_port), { code: 'ECONNREFUSED' });
  await contree.instances.close(uuid);
  await Array.fromAsync(contree.operations.events(uuid, { follow: true }));
  await assert.rejects(connected(ports.find(({ port }) => port === 1)!.host_port), { code: 'ECONNREFUSED' });
  await assert.rejects(contree.instances.publish(uuid, { port: 1 }), faults('INSTANCE_NOT_RUNNING'));
}
