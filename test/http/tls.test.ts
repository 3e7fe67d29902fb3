import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import type { IncomingMessage } from 'node:http';
import { test } from 'node:test';
import { isFault } from '../../src/contract/errors.ts';
import { Activity } from '../../src/http/activity.ts';
import { listen, type Where } from '../../src/http/listen.ts';

/** A key and a certificate for localhost. */
function certificate() {
  const folder = mkdtempSync(join(tmpdir(), 'contree-tls-'));
  const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
  const made = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '1'];
  const { status, stderr } = spawnSync('openssl', [...made, ...subject, '-keyout', key, '-out', cert], {
    encoding: 'utf8',
  });
  assert.equal(status, 0, stderr);
  return { cert, key, [Symbol.dispose]: () => rmSync(folder, { recursive: true }) };
}

const app = async (): Promise<Response> => new Response('over TLS');

test('with a certificate the server speaks https', async () => {
  using files = certificate();
  const where: Where = { kind: 'tcp', host: '127.0.0.1', port: 0, tls: files };
  await using listener = await listen(app, where, new Activity());
  assert.match(listener.address, /^https:\/\/127\.0\.0\.1:\d+$/u);
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    request(listener.address, { ca: readFileSync(files.cert), agent: false }, resolve)
      .once('error', reject)
      .end();
  });
  assert.equal(await text(answer), 'over TLS');
});

test('a certificate that is not there or no certificate is a setting to correct', async () => {
  using files = certificate();
  const faulty = (tls: { cert: string; key: string }) =>
    listen(app, { kind: 'tcp', host: '127.0.0.1', port: 0, tls }, new Activity());
  await assert.rejects(faulty({ ...files, key: '/nowhere' }), (error: unknown) => isFault(error, 'CONFIG_INVALID'));
  writeFileSync(files.cert, 'no certificate');
  await assert.rejects(faulty(files), (error: unknown) => isFault(error, 'CONFIG_INVALID'));
});

test('an address that is taken is a setting to correct, not a crash', async () => {
  await using first = await listen(app, { kind: 'tcp', host: '127.0.0.1', port: 0 }, new Activity());
  const port = Number(new URL(first.address).port);
  await assert.rejects(listen(app, { kind: 'tcp', host: '127.0.0.1', port }, new Activity()), (error: unknown) => {
    assert.ok(isFault(error, 'CONFIG_INVALID'));
    assert.match(error.message, /EADDRINUSE/u);
    return true;
  });
});
