import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { after, test } from 'node:test';
import { InstancePorts } from '../../src/engine/instance/ports.ts';
import { Activity } from '../../src/http/activity.ts';
import { ANYONE } from '../../src/http/auth.ts';
import { listen } from '../../src/http/listen.ts';
import { SILENT } from '../../src/http/log.ts';
import { InstancePages } from '../../src/http/pages/instance-pages.ts';
import { StreamDigest } from '../../src/std/streams.ts';
import { gvisorFolder, hasRunsc } from '../support/gvisor.ts';
import { bootSpec, runScript } from '../support/microvm.ts';
import { until } from '../support/time/until.ts';

const MIB = 1024 ** 2;
const UUID = '6f9619ff-8b86-4d01-b42d-00cf4fc964ff';
const [WEB, SOCKET] = [8_000, 8_001];
const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';
const soon = (): AbortSignal => AbortSignal.timeout(60_000);

/** Answers the handshake of RFC 6455 §1.3, whose key and answer are fixed, and sends back what follows. */
const ECHO = String.raw`while read -r line; do [ "$line" = "$(printf '\r')" ] && break; done
printf 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
printf 'Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n'
exec cat`;

if (await hasRunsc()) {
  const folder = await gvisorFolder();
  const bench = await folder.open();
  after(async () => {
    await bench[Symbol.asyncDispose]();
    await folder[Symbol.asyncDispose]();
  });

  test('a web server and a WebSocket in a gVisor run without a network are used through both kinds of port', async () => {
    await using instance = await bench.driver.start(bootSpec(bench.layers), soon());
    const made = 'mkdir -p /srv; head -c 16777216 /dev/urandom > /srv/big; sha256sum < /srv/big | cut -c -64';
    const sum = (await runScript(instance, `${made}; cat > /echo <<'END'\n${ECHO}\nEND\nchmod +x /echo`)).stdout.trim();
    const programs = ['httpd -f -p 127.0.0.1:8000 -h /srv', 'nc -ll -p 8001 -e sh /echo'];
    const env = { PATH: '/usr/bin:/usr/sbin:/bin:/sbin' };
    for (const program of programs) {
      await instance.start({ argv: program.split(' '), env, cwd: '/', uid: 0, gid: 0, stdin: false }, soon());
    }
    await using ports = new InstancePorts({
      connect: (port, signal) => instance.connect(port, signal),
      use: () => ({ [Symbol.dispose]: () => undefined }),
      take: () => ({ [Symbol.dispose]: () => undefined }),
      address: '127.0.0.1',
    });
    const published = new Map<number, number>();
    for (const port of [WEB, SOCKET]) published.set(port, (await ports.publish(port, 0)).hostPort);
    const closing = new AbortController();
    const pages = new InstancePages({
      connect: (_principal, { port }, signal) => ports.connect(port, signal),
      authentication: { kind: 'fixed', principal: ANYONE },
      origin: { names: [], anyHost: false },
      log: SILENT,
      isCurrent: async () => true,
      closing: closing.signal,
    });
    const none = async (): Promise<Response> => new Response(null, { status: 404 });
    await using listener = await listen(none, { kind: 'tcp', host: '127.0.0.1', port: 0 }, new Activity(), pages);
    using _closed = { [Symbol.dispose]: () => closing.abort() };
    const own = Number(new URL(listener.address).port);
    const ways = (port: number) => [
      { port: published.get(port)!, headers: { host: 'localhost' } },
      { port: own, headers: { host: `${port}-${UUID}.localhost:${own}` } },
    ];
    for (const way of ways(WEB)) {
      const asked = async (): Promise<IncomingMessage> => {
        const sent = httpRequest({ ...way, host: '127.0.0.1', path: '/big', agent: false }).end();
        return ((await once(sent, 'response')) as [IncomingMessage])[0];
      };
      await until(() =>
        asked().then(
          (answer) => answer.resume().statusCode === 200,
          () => false,
        ),
      );
      const digest = new StreamDigest();
      for await (const chunk of digest.through(await asked())) void chunk;
      assert.deepEqual([digest.bytes, digest.sha256()], [16 * MIB, sum], way.headers.host);
    }
    for (const way of ways(SOCKET)) {
      const headers = { ...way.headers, connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-key': KEY };
      const sent = httpRequest({ ...way, host: '127.0.0.1', headers, agent: false }).end();
      const [answer, socket] = (await once(sent, 'upgrade')) as [IncomingMessage, Duplex];
      assert.equal(answer.headers['sec-websocket-accept'], 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=');
      const bytes = createHash('sha512').update(way.headers.host).digest();
      socket.write(bytes);
      let received = Buffer.alloc(0);
      while (received.length < bytes.length) {
        received = Buffer.concat([received, (await once(socket, 'data'))[0] as Buffer]);
      }
      assert.deepEqual(received, bytes);
      socket.destroy();
    }
  });
}
