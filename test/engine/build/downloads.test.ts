import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, beforeEach, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { limits } from '../../../src/contract/limits.ts';
import { downloader } from '../../../src/images/import/download.ts';
import { Tree } from '../../../src/layers/tree.ts';
import { collect } from '../../../src/std/bytes.ts';
import { tarOf } from '../../support/tar.ts';
import { finished } from '../bench.ts';
import { bench, built, failed, filesOf } from './bench.ts';

const MODIFIED = 'Wed, 21 Oct 2015 07:28:00 GMT';
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

type Handler = (request: IncomingMessage, response: ServerResponse) => void;
const text =
  (content: string | Buffer, headers = {}): Handler =>
  (_request, response) =>
    void response.writeHead(200, headers).end(content);
const redirect =
  (location: () => string): Handler =>
  (_request, response) =>
    void response.writeHead(302, { location: location() }).end();

const PAGES: Readonly<Record<string, Handler>> = {
  '/file.txt': text('content', { 'last-modified': MODIFIED }),
  '/dir/name%20with%20space.txt': text('spaced'),
  '/': text('root'),
  '/moved/old.txt': redirect(() => '/file.txt'),
  '/away.txt': redirect(() => `http://localhost:${port}/file.txt`),
  '/loop.txt': redirect(() => '/loop.txt'),
  '/escape/%2e%2e%2f..': text('escape'),
  '/root.tgz': text(gzipSync(tarOf([{ path: 'in/f', content: 'f', mode: 0o600, uid: 3, gid: 4 }]))),
  '/huge': (_request, response) => {
    response.writeHead(200, { 'content-length': String(limits.buildDownloadBytesMax + 1) }).flushHeaders();
  },
  '/silent': (_request, response) => void held.push(response),
  '/cut': (_request, response) => {
    response.writeHead(200, { 'content-length': '100' }).write('half', () => response.destroy());
  },
};

const requests: string[] = [];
/** Answers that are open until the test ends them. */
const held: ServerResponse[] = [];
const server = createServer((request, response) => {
  const path = request.url ?? '';
  requests.push(path);
  if (path === '/held') {
    held.push(response.writeHead(200));
    response.flushHeaders();
  }
  const page = PAGES[path];
  if (page !== undefined) page(request, response);
  else if (path !== '/held') response.writeHead(404).end('nothing here');
}).listen(0, '127.0.0.1');
await once(server, 'listening');
const { port } = server.address() as AddressInfo;
const at = `http://127.0.0.1:${port}`;
after(() => {
  server.closeAllConnections();
  server.close();
});
beforeEach(() => {
  requests.length = 0;
  held.length = 0;
});

const CASES: readonly (readonly [name: string, lines: string, path: string, expected: readonly string[]])[] = [
  [
    'into a directory, by the name in the URL',
    `ADD ${at}/file.txt /a/`,
    '/a',
    ['/a 755 0:0 directory', '/a/file.txt 600 0:0 "content"'],
  ],
  ['to a new name', `ADD ${at}/file.txt /by`, '/by', ['/by 600 0:0 "content"']],
  ['with owner and mode', `ADD --chown=3:4 --chmod=755 ${at}/file.txt /c`, '/c', ['/c 755 3:4 "content"']],
  [
    'a name that is escaped in the URL',
    `ADD ${at}/dir/name%20with%20space.txt /d/`,
    '/d/',
    ['/d/name with space.txt 600 0:0 "spaced"'],
  ],
  ['of a URL without a path, to a name', `ADD ${at} /whole`, '/whole', ['/whole 600 0:0 "root"']],
  [
    'through a redirect, by the name in the Dockerfile',
    `ADD ${at}/moved/old.txt /f/`,
    '/f/',
    ['/f/old.txt 600 0:0 "content"'],
  ],
  ['an archive, which stays packed', `ADD ${at}/root.tgz /g/`, '/g/', ['/g/root.tgz 600 0:0 "']],
  [
    'an archive to unpack',
    `ADD --unpack=true ${at}/root.tgz /h`,
    '/h/',
    ['/h/in 755 0:0 directory', '/h/in/f 600 3:4 "f"'],
  ],
  [
    'with variables',
    `ARG V=file\nADD --checksum=sha256:\${S} ${at}/\${V}.txt /i`.replace('ARG', `ARG S=${sha256('content')}\nARG`),
    '/i',
    ['/i 600 0:0 "content"'],
  ],
];

for (const [name, lines, path, expected] of CASES) {
  test(`ADD of a URL: ${name}`, async () => {
    const { uuid } = await built(`FROM base\n${lines}`);
    const files = await filesOf(uuid, path);
    assert.equal(files.length, expected.length, String(files));
    for (const [index, line] of expected.entries()) assert.ok(files[index]?.startsWith(line), files[index]);
  });
}

test('a downloaded file has the time of Last-Modified', async () => {
  const { uuid } = await built(`FROM base\nADD ${at}/file.txt /timed`);
  await using tree = await Tree.open(await bench.store.layers.files(bench.store.images.get(uuid).layers));
  assert.equal((await tree.resolve('/timed')).mtimeSeconds, Date.parse(MODIFIED) / 1_000);
});

test('a file is downloaded again, and makes no new step while it is the same; with a checksum it is not downloaded', async () => {
  const plain = `FROM base\nADD ${at}/file.txt /again`;
  const first = await built(plain);
  assert.equal((await built(plain)).uuid, first.uuid);
  assert.deepEqual(requests, ['/file.txt', '/file.txt']);
  const known = `FROM base\nADD --checksum=sha256:${sha256('content')} ${at}/file.txt /known`;
  const second = await built(known);
  assert.equal((await built(known)).uuid, second.uuid);
  assert.equal(requests.length, 3);
});

const REFUSED: readonly (readonly [name: string, line: string, reason: RegExp])[] = [
  [
    'another checksum',
    `ADD --checksum=sha256:${sha256('other')} ${at}/file.txt /x`,
    /line 2.*has digest sha256:.*, not sha256:/u,
  ],
  ['a checksum of another kind', `ADD --checksum=sha512:00 ${at}/file.txt /x`, /line 2.*64 hexadecimal digits/u],
  ['a checksum of a file of the context', `ADD --checksum=sha256:${sha256('a')} d/a /x`, /line 2.*one URL/u],
  ['a URL that answers 404', `ADD ${at}/none /x`, /line 2.*\/none answers with status 404/u],
  ['a loopback address by its name', `ADD http://localhost:${port}/file.txt /x`, /loopback/u],
  ['a redirect to a loopback address', `ADD ${at}/away.txt /x`, /loopback/u],
  ['a metadata address', 'ADD http://169.254.169.254/latest /x', /metadata address/u],
  ['endless redirects', `ADD ${at}/loop.txt /x`, /redirects/u],
  ['more bytes than allowed', `ADD ${at}/huge /x`, /more than the \d+ allowed/u],
  ['an answer that breaks off', `ADD ${at}/cut /x`, /closed/u],
  ['a URL without a name, into a directory', `ADD ${at}/ /x/`, /line 2.*no file name/u],
  ['a name that leads upwards', `ADD ${at}/escape/%2e%2e%2f.. /x/`, /line 2.*no file name/u],
  ['a repository', 'ADD https://127.0.0.1/a.git /x', /line 2.*repository/u],
];

for (const [name, line, reason] of REFUSED) {
  test(`ADD of a URL refuses ${name}`, async () => {
    const { error, error_code: code } = await failed(`FROM base\n${line}`);
    assert.match(error ?? '', reason);
    assert.notEqual(code, 'INTERNAL');
  });
}

test('the bytes of a download are counted where the server states no length', async () => {
  const download = downloader({ allowed: ['127.0.0.1'] });
  const open = async (bytesMax: number): Promise<string> => {
    const { body } = await download(new URL(`${at}/held`), bytesMax, AbortSignal.timeout(30_000));
    held.pop()?.end('7 bytes');
    return (await collect(body, 100)).toString();
  };
  assert.equal(await open(7), '7 bytes');
  await assert.rejects(open(6), { code: 'FILE_TOO_LARGE' });
});

test('a build that waits for a slow server can be cancelled, which closes the connection', async () => {
  const { uuid } = await bench.engine.images.build({ dockerfile_text: `FROM base\nADD ${at}/held /x` });
  while (held.length === 0) await once(server, 'request');
  const [response] = held;
  assert.ok(response);
  response.write('slow');
  const closed = once(response, 'close');
  await bench.engine.operations.cancel(uuid);
  await closed;
  assert.equal((await finished(bench.engine, uuid)).status, 'CANCELLED');
});

test('a server that says nothing, before its answer or in the middle of it, is given up', async () => {
  const download = downloader({ allowed: ['127.0.0.1'], silenceMs: 50 });
  const { signal } = new AbortController();
  const silent = { code: 'REGISTRY_UNREACHABLE' };
  await assert.rejects(download(new URL(`${at}/silent`), 100, signal), silent);
  const { body } = await download(new URL(`${at}/held`), 100, signal);
  await assert.rejects(collect(body, 100), silent);
});
