import assert from 'node:assert/strict';
import type { Duplex } from 'node:stream';
import { test } from 'node:test';
import { openPage, RAW, type Page } from '../../support/servers/page-bench.ts';

/** Returns the head of a request that is allowed in, with these lines in addition. */
function head(page: Page, ...lines: readonly string[]): string {
  const own = [`Host: ${page.host()}`, `Authorization: Bearer ${page.client.token}`, ...lines];
  return `POST /first HTTP/1.1\r\n${own.join('\r\n')}\r\n\r\n`;
}

test('no request hides a second one, whichever of its lengths is believed', async () => {
  const seen: string[] = [];
  await using page = await openPage((request, response) => {
    let body = '';
    request.on('data', (part: Buffer) => (body += part.toString()));
    request.on('end', () => {
      seen.push(`${request.url} ${body}`);
      response.end('done');
    });
  });
  const hidden = `GET /hidden HTTP/1.1\r\nHost: ${page.host()}\r\nConnection: close\r\n\r\n`;
  const size = `Content-Length: ${hidden.length}`;
  const refused: Readonly<Record<string, string>> = {
    'both lengths': head(page, size, 'Transfer-Encoding: chunked') + `0\r\n\r\n${hidden}`,
    'both lengths, the other way round':
      head(page, 'Transfer-Encoding: chunked', 'Content-Length: 4') + `0\r\n\r\n${hidden}`,
    'two lengths': head(page, 'Content-Length: 0', size) + hidden,
    'a signed length': head(page, 'Content-Length: +5') + hidden,
    'two codings': head(page, 'Transfer-Encoding: chunked', 'Transfer-Encoding: identity') + `0\r\n\r\n${hidden}`,
    'an unknown coding': head(page, 'Transfer-Encoding: xchunked') + `0\r\n\r\n${hidden}`,
    'a coding behind a space': head(page, 'Transfer-Encoding : chunked') + `0\r\n\r\n${hidden}`,
    'a line that continues': head(page, 'X-A: b\r\n Transfer-Encoding: chunked', 'Content-Length: 4') + hidden,
    'a bare line feed': `POST /first HTTP/1.1\nHost: ${page.host()}\n\n${hidden}`,
    'a size of a chunk that is none': head(page, 'Transfer-Encoding: chunked') + `0x0\r\n\r\n${hidden}`,
  };
  for (const [name, bytes] of Object.entries(refused)) {
    const answer = await page.raw(bytes);
    assert.match(answer, /^(?:HTTP\/1\.1 400 |$)/u, name);
    assert.ok(!answer.includes('done'), name);
  }
  assert.deepEqual(
    seen.filter((line) => line.includes('hidden')),
    [],
  );
  // Headers that the client declares to be the connection's own do not change how long the body is.
  const named = await page.raw(head(page, 'Connection: close, content-length, host', size) + hidden);
  assert.match(named, /^HTTP\/1\.1 200 [\s\S]*done/u);
  assert.deepEqual(seen.at(-1), `/first ${hidden}`, 'it is a body');
  // A second request in the same connection is a request of its own, which is admitted on its own.
  const two = await page.raw(head(page, 'Content-Length: 0') + hidden);
  assert.deepEqual(
    [...two.matchAll(/HTTP\/1\.1 (\d+)/gu)].map(([, status]) => status),
    ['200', '401'],
  );
});

/** A guest that answers every connection with these bytes and ends it. */
function answering(bytes: () => string): (stream: Duplex) => void {
  return (stream) => {
    stream.on('error', () => undefined).once('data', () => stream.end(bytes(), 'latin1'));
    stream.resume();
  };
}

test('an answer of a guest is one answer, of bounded size, or none', async () => {
  let bytes = '';
  await using page = await openPage(
    (_request, response) => response.end(),
    answering(() => bytes),
  );
  const ask = async (path = '/'): Promise<{ readonly status: number; readonly text: string }> =>
    page.ask({ path, host: page.host(RAW), headers: { authorization: `Bearer ${page.client.token}` } });
  const refused: Readonly<Record<string, string>> = {
    'both lengths': 'HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nabc',
    'a line that continues': 'HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 0\r\n\r\n',
    'headers without end': `HTTP/1.1 200 OK\r\n${'X-A: b\r\n'.repeat(10_000)}\r\n`,
    'a status that is none': 'HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n',
    'no headers': 'HTTP/1.1 200 OK\r\n',
    nothing: '',
  };
  for (const [name, answer] of Object.entries(refused)) {
    bytes = answer;
    const { status, text } = await ask();
    assert.ok(status >= 500, `${name}: ${status}`);
    assert.ok(!text.includes('abc'), name);
  }
  bytes = 'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\noneHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo';
  assert.equal((await ask()).text, 'one', 'what follows an answer belongs to no one');
  bytes = 'HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\ncut';
  await assert.rejects(ask(), 'an answer that breaks off does not look whole');
  bytes = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nfree bytes';
  const switched = await ask();
  assert.deepEqual(
    [switched.status, switched.text.includes('free')],
    [502, false],
    'nobody asked for another protocol',
  );
});
