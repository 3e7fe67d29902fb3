import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MessageParser } from '../../console/app/api/event-stream.js';
import { envelope } from '../../console/app/api/mcp.js';
import { parseMetrics, routesOf } from '../../console/app/api/metrics.js';
import { hexDump, looksBinary } from '../../console/app/kit/hex.js';
import { fileMode } from '../../console/app/kit/format.js';
import { markdown } from '../../console/app/kit/markdown.js';
import { bytesOf, OutputLog } from '../../console/app/kit/output-log.js';
import { href, parseRoute } from '../../console/app/kit/route.js';
import { parts, plain } from '../../console/app/kit/text.js';
import { tarOf } from '../../console/app/kit/tar.js';
import { Steps } from '../../console/app/views/builds/steps.js';
import { pairsOf } from '../../console/app/kit/values.js';
import { forest, visibleRows } from '../../console/app/views/images/image-forest.js';
import { parsePatch } from '../../console/app/views/images/patch.js';
import { fieldsOf } from '../../console/app/api/schema.js';
import { formatMode } from '../../src/std/listing.ts';
import { buildSteps } from '../../src/tools/images/build-steps.ts';
import { TarReader } from '../../src/tar/reader.ts';
import { collect } from '../../src/std/bytes.ts';
import type { Image } from '../../src/contract/image.ts';
import { HttpMetrics } from '../../src/http/metrics.ts';

test('what shows nothing or turns text around is written out, and nothing else', () => {
  assert.equal(plain('photo\u202egnp.exe'), String.raw`photo\u202egnp.exe`);
  assert.equal(plain('\u001b[31mred\u0007\n\t\0'), String.raw`\e[31mred\u0007\n\t\0`);
  assert.equal(plain('a\u200b\u2066\u{e0041}\ud800z'), String.raw`a\u200b\u2066\u{e0041}\ud800z`);
  assert.equal(plain('äöü 漢字 🙂 <b>'), 'äöü 漢字 🙂 <b>');
  assert.deepEqual(parts('a\u001b\u0007b\n', true), [
    { value: 'a', unseen: false },
    { value: String.raw`\e\u0007`, unseen: true },
    { value: 'b\n', unseen: false },
  ]);
});

test('server-sent events are read however the text is cut', () => {
  const text =
    ': keepalive\n\nid: 3\nevent: stdout\ndata: {"a":1}\n\nid:4\r\ndata:x\r\ndata: y\r\n\r\nevent: nothing\n\n';
  const wanted = [
    { id: '3', event: 'stdout', data: '{"a":1}' },
    { id: '4', event: 'message', data: 'x\ny' },
  ];
  for (let size = 1; size < text.length; size += 1) {
    const parser = new MessageParser();
    const found = [];
    for (let at = 0; at < text.length; at += size) found.push(...parser.feed(text.slice(at, at + size)));
    assert.deepEqual(found, wanted, `in pieces of ${size}`);
  }
});

test('a request of the stateless protocol carries everything, in headers too', () => {
  const { headers, body } = envelope('resources/read', { uri: 'contree://image/x/read/ä' }, 'token');
  assert.equal(headers['MCP-Protocol-Version'], '2026-07-28');
  assert.equal(headers['Mcp-Method'], 'resources/read');
  const encoded = /^=\?base64\?(.*)\?=$/u.exec(headers['Mcp-Name'] ?? '')?.[1] ?? '';
  assert.equal(Buffer.from(encoded, 'base64').toString(), 'contree://image/x/read/ä');
  assert.equal(body.params._meta.progressToken, 'token');
  assert.equal(envelope('tools/call', { name: 'run' }).headers['Mcp-Name'], 'run');
  assert.equal('Mcp-Name' in envelope('tools/list').headers, false);
});

test('metrics are read as the server writes them', () => {
  const metrics = new HttpMetrics();
  metrics.observe('GET /images/"x"', 200, 0.002);
  metrics.observe('GET /images/"x"', 200, 0.004);
  const samples = parseMetrics(metrics.render(3, []));
  assert.equal(samples.find(({ name }) => name === 'contree_http_requests_in_flight')?.value, 3);
  const [route] = routesOf(samples);
  assert.deepEqual([route?.route, route?.count], ['GET /images/"x"', 2]);
  assert.ok(Math.abs((route?.meanSeconds ?? 0) - 0.003) < 1e-9);
});

test('bytes are shown as hexdump shows them; text is told from other bytes', () => {
  assert.equal(
    hexDump(Buffer.from('0123456789abcdef\u0000\n'), 32),
    '00000020  30 31 32 33 34 35 36 37  38 39 61 62 63 64 65 66  |0123456789abcdef|\n' +
      `00000030  00 0a${' '.repeat(45)}|..|`,
  );
  assert.equal(looksBinary(Buffer.from('text, ä, 漢')), false);
  assert.equal(looksBinary(Buffer.from('ends within 漢').subarray(0, -1)), false);
  assert.equal(looksBinary(Buffer.from([0x7f, 0x45, 0])), true);
  assert.equal(looksBinary(Buffer.alloc(1_000, 0xff)), true);
});

test('modes are written as the API writes them in its listings', () => {
  for (const mode of [0o100644, 0o104755, 0o41777, 0o120777, 0o10600, 0o60660, 0o102644, 0o140000, 0o101643]) {
    assert.equal(fileMode(mode), formatMode(mode));
  }
});

test('output becomes lines of both streams in order, however it is cut', () => {
  const log = new OutputLog();
  const bytes = Buffer.from('first ä\nsecond\n\nlast');
  for (const byte of bytes) log.add('stdout', Uint8Array.of(byte));
  log.add('stderr', bytesOf({ value: Buffer.from('oops\n').toString('base64'), encoding: 'base64' }));
  log.add('stdout', bytesOf({ value: ' one\n' }));
  assert.deepEqual(
    log.lines.map(({ stream, text }) => `${stream} ${text}`),
    ['stdout first ä', 'stdout second', 'stdout ', 'stdout last one', 'stderr oops'],
  );
  assert.deepEqual([log.size('stdout'), log.size('stderr')], [bytes.length + 5, 5]);
  log.add('stdout', Buffer.from('\n'.repeat(200_000)));
  assert.ok(log.lines.length <= 100_000 && log.dropped > 100_000, 'lines are bounded');
});

test('a place is told by its address and found again', () => {
  const address = href(['images', 'tag:a/b', 'files'], { path: '/a b#c?d&e=f', at: undefined });
  const { path, query } = parseRoute(address);
  assert.deepEqual(path, ['images', 'tag:a/b', 'files']);
  assert.equal(query.get('path'), '/a b#c?d&e=f');
  assert.deepEqual(parseRoute('#/%').path, ['%']);
  assert.deepEqual(pairsOf('A=1=2\n\nB\n'), { A: '1=2', B: '' });
});

const image = (uuid: string, parent: string | null, more: Partial<Image> = {}): Image => ({
  uuid,
  parent_uuid: parent,
  tag: null,
  tags: [],
  created_at: '',
  operation_uuid: null,
  command: `make ${uuid}`,
  ...more,
});

test('images stand under their parents; a filter keeps what leads to a match', () => {
  const newestFirst = [
    image('d', 'b'),
    image('orphan', 'gone'),
    image('c', 'a', { tags: ['x'] }),
    image('b', 'a'),
    image('a', null),
  ];
  const all = { text: '', tagged: false, closed: new Set<string>() };
  const shown = (filter: typeof all) =>
    visibleRows(forest(newestFirst), filter).map(
      ({ image: { uuid }, depth, position, siblings }) => `${uuid} ${depth} ${position}/${siblings}`,
    );
  assert.deepEqual(shown(all), ['orphan 0 1/2', 'a 0 2/2', 'b 1 1/2', 'd 2 1/1', 'c 1 2/2']);
  assert.deepEqual(shown({ ...all, closed: new Set(['b']) }), ['orphan 0 1/2', 'a 0 2/2', 'b 1 1/2', 'c 1 2/2']);
  assert.deepEqual(shown({ ...all, text: 'make d' }), ['a 0 1/1', 'b 1 1/1', 'd 2 1/1']);
  assert.deepEqual(shown({ ...all, tagged: true }), ['a 0 1/1', 'c 1 1/1']);
  const chain = Array.from({ length: 20_000 }, (_, index) =>
    image(`${index}`, index === 0 ? null : `${index - 1}`),
  ).toReversed();
  assert.equal(visibleRows(forest(chain), all).length, 20_000, 'depth needs no stack');
});

test('a patch is read with the numbers of its lines', () => {
  const patch = '--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n same\n-- old\n+new\n\\ No newline at end of file\n';
  assert.deepEqual(parsePatch(patch), [
    { kind: 'hunk', text: '@@ -1,2 +1,2 @@' },
    { kind: 'same', text: 'same', before: 1, after: 1 },
    { kind: 'removed', text: '- old', before: 2 },
    { kind: 'added', text: 'new', after: 2 },
    { kind: 'note', text: 'No newline at end of file' },
  ]);
});

test('a schema is told field by field, nested ones by their path', () => {
  const fields = fieldsOf({
    type: 'object',
    required: ['image'],
    properties: {
      image: { type: 'string' },
      case: { enum: ['smart'] },
      env: { type: 'object', additionalProperties: { type: 'string' } },
      matches: { type: 'array', items: { type: 'object', properties: { path: { type: 'string' } } } },
    },
  });
  assert.deepEqual(
    fields.map(({ path, type, required }) => [path, type, required]),
    [
      ['image', 'string', true],
      ['case', '"smart"', false],
      ['env', '{ name: string }', false],
      ['matches', 'object[]', false],
      ['matches[].path', 'string', false],
    ],
  );
});

test('guides are read block by block', () => {
  const text =
    '# Title\n\nOne\ntwo.\n\n- a\n  b\n- c\n\n1. d\n\n```\n| code |\n```\n\n| h | i |\n|---|---|\n| j | k |\n';
  assert.deepEqual(markdown(text), [
    { kind: 'heading', level: 1, text: 'Title' },
    { kind: 'paragraph', text: 'One two.' },
    { kind: 'list', ordered: false, items: ['a b', 'c'] },
    { kind: 'list', ordered: true, items: ['d'] },
    { kind: 'code', text: '| code |' },
    {
      kind: 'table',
      rows: [
        ['h', 'i'],
        ['j', 'k'],
      ],
    },
  ]);
});

test('a folder is sent as a tar, whatever its names', async () => {
  const files: Record<string, string> = {
    'a/b': 'x'.repeat(513),
    [`${'long/'.repeat(60)}ä`]: '',
    Dockerfile: 'FROM a',
  };
  const blob = tarOf(Object.entries(files).map(([path, text]) => ({ path, file: new Blob([text]) })));
  const reader = new TarReader(blob.stream());
  const found: Record<string, string> = {};
  for (let entry = await reader.next(); entry !== undefined; entry = await reader.next()) {
    assert.deepEqual([entry.type, entry.mode, entry.uid], ['file', 0o644, 0]);
    const content = await collect(reader.content(), 10_000);
    found[Buffer.from(entry.path, 'latin1').toString()] = content.toString();
  }
  assert.deepEqual(found, files);
});

test('the steps of a build are read from its log as the tools read them', () => {
  const [a, b] = ['11111111-1111-1111-1111-111111111111', '22222222-2222-2222-2222-222222222222'];
  const lines = [
    `#1 [web FROM] base → ${a}`,
    `#2 [web 1/3] RUN echo "#1 FAILED" → ${b}`,
    'line 3: name: 10 %',
    `#2 DONE 0.1s → ${b}`,
    '#3 [web 2/3] ENV ä=1',
    `#3 CACHED → ${b}`,
    '#4 [web 3/3] RUN false',
    '#4 FAILED',
    '#5 [other 1/1] RUN true',
  ];
  const steps = new Steps();
  const said = (spid: number, value: string): void => {
    for (const byte of Buffer.from(value)) {
      const data = { value: Buffer.of(byte).toString('base64'), encoding: 'base64' };
      steps.take({ type: 'stdout', spid, data } as never);
    }
  };
  said(0, `${lines.join('\n')}\n`);
  said(4, 'why\n');
  assert.deepEqual(
    steps.all.map(({ number, stage, text, state, image: at }) => ({ number, stage, text, state, image: at })),
    buildSteps(lines),
  );
  assert.deepEqual(
    steps.all.map(({ took, output }) => took + output.lines.map(({ text }) => text).join()),
    ['', '0.1s', '', 'why', ''],
  );
  assert.deepEqual(steps.notes, ['line 3: name: 10 %']);
});
