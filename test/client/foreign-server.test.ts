import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { connect, type HttpContree } from '../../src/client/index.ts';
import { Requester } from '../../src/client/requester.ts';
import { HttpTransport, SilentError, type Sender } from '../../src/client/transport.ts';
import { isFault, type ErrorCode } from '../../src/contract/errors.ts';
import type { OperationEvent } from '../../src/contract/event.ts';

type Handler = (request: IncomingMessage, response: ServerResponse, count: number) => void;

/** A foreign server with scripted answers. */
async function foreign(
  handler: Handler,
): Promise<
  AsyncDisposable & { readonly url: string; readonly contree: HttpContree; readonly requests: IncomingMessage[] }
> {
  const requests: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    requests.push(request);
    request.resume();
    handler(request, response, requests.length);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const remote = { url: `http://127.0.0.1:${port}/sandboxes`, token: 'sekret', project: 'p-1', env: {} };
  const contree = await connect({ version: '1.0.0', program: 'contree', server: { remote } });
  const close = async (): Promise<void> => {
    await contree[Symbol.asyncDispose]();
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  };
  return { url: remote.url, contree, requests, [Symbol.asyncDispose]: close };
}

function answer(response: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}): void {
  response.writeHead(status, { 'Content-Type': 'application/json', ...headers });
  response.end(typeof body === 'string' ? body : JSON.stringify(body));
}

function faults(code: ErrorCode, message = /./u) {
  return (error: unknown): boolean => {
    assert.ok(isFault(error, code), String(error));
    assert.match(error.message, message);
    return true;
  };
}

const IMAGE = '6f9619ff-8b86-4d01-b42d-00cf4fc964ff';
const OPERATION = { uuid: IMAGE, kind: 'image_import', status: 'SUCCESS', metadata: { registry: { url: 'x' } } };

test('token, project, program and path prefix are sent, and no encoding is asked for', async () => {
  await using server = await foreign((_request, response) => answer(response, 200, { images: [] }));
  await server.contree.images.list({ tagged: true, since: new Date('2026-01-02T03:04:05Z') });
  const [{ url, headers } = assert.fail()] = server.requests;
  assert.equal(url, '/sandboxes/v1/images?tagged=1&since=2026-01-02T03%3A04%3A05.000Z');
  assert.deepEqual([headers.authorization, headers['project']], ['Bearer sekret', 'p-1']);
  assert.match(headers['user-agent'] ?? '', /^contree\/1\.0\.0 node\/24/u);
  assert.equal(headers['accept-encoding'], undefined);
});

test('plain error bodies become the nearest fault', async () => {
  const cases: readonly (readonly [number, string, ErrorCode, RegExp])[] = [
    [400, '{"error":"limit must be between 1 and 1000"}', 'ARGUMENT_INVALID', /limit must be/u],
    [401, '', 'TOKEN_MISSING', /no token/u],
    [403, '{"error":"forbidden"}', 'TOKEN_INVALID', /forbidden/u],
    [404, '{"error":"image not found"}', 'IMAGE_NOT_FOUND', new RegExp(IMAGE, 'u')],
    [418, '{"error":{"deep":["why"]}}', 'REMOTE_FAILED', /HTTP 418: \{"deep"/u],
    [501, '<html>nope</html>', 'REMOTE_FAILED', /nope/u],
  ];
  for (const [status, body, code, message] of cases) {
    await using server = await foreign((_request, response) => answer(response, status, body));
    await assert.rejects(server.contree.images.get(IMAGE), faults(code, message), String(status));
    assert.equal(server.requests.length, 1, 'what cannot help is not repeated');
  }
});

test('what the call was about names what is missing', async () => {
  await using server = await foreign((_request, response) => answer(response, 404, { error: 'not found' }));
  const { contree } = server;
  await assert.rejects(contree.files.list(IMAGE, { path: '/x' }), faults('FILE_NOT_FOUND', /"\/x"/u));
  await assert.rejects(contree.operations.get(IMAGE), faults('OPERATION_NOT_FOUND'));
  await assert.rejects(contree.processes.get(IMAGE, 4), faults('SUBPROCESS_NOT_FOUND', /process 4/u));
  await assert.rejects(contree.uploads.get('abc'), faults('UPLOAD_NOT_FOUND', /abc/u));
  await assert.rejects(contree.images.lineage(IMAGE), faults('ROUTE_NOT_FOUND', /lineage/u));
});

test('reads are repeated after 502 and 503, creations only after 425 and 429', async () => {
  await using reads = await foreign((_request, response, count) => {
    answer(response, [502, 503][count - 1] ?? 200, { images: [] });
  });
  assert.deepEqual(await reads.contree.images.list({}), []);
  assert.equal(reads.requests.length, 3);
  await using untouched = await foreign((_request, response, count) => {
    answer(response, [425, 429][count - 1] ?? 201, { uuid: IMAGE });
  });
  assert.equal((await untouched.contree.runs.start({ command: 'x', image: IMAGE })).uuid, IMAGE);
  assert.equal(untouched.requests.length, 3);
  await using touched = await foreign((_request, response) => answer(response, 503, { error: 'later' }));
  await assert.rejects(touched.contree.runs.start({ command: 'x', image: IMAGE }), faults('REMOTE_FAILED', /later/u));
  assert.equal(touched.requests.length, 1);
});

test('Retry-After is honoured', async () => {
  await using server = await foreign((_request, response, count) => {
    if (count === 1) answer(response, 429, { error: 'slow down' }, { 'Retry-After': '1' });
    else answer(response, 201, { uuid: IMAGE });
  });
  const startedMs = performance.now();
  await server.contree.runs.start({ command: 'x', image: IMAGE });
  assert.ok(performance.now() - startedMs >= 990);
});

test('a report of our own server comes back as the same fault, and an internal error is not repeated', async () => {
  const report = { code: 'IMAGE_IN_USE', message: 'in use by x', detail: { image: IMAGE, by: 'x' } };
  await using server = await foreign((_request, response) => answer(response, 409, { error: 'text', ...report }));
  await assert.rejects(server.contree.images.delete(IMAGE), (error: unknown) => {
    assert.ok(isFault(error, 'IMAGE_IN_USE'));
    assert.deepEqual(error.detail, report.detail);
    return true;
  });
  const bug = { error: 'x', code: 'INTERNAL', message: 'internal error (incident 7)', detail: { incident: '7' } };
  await using broken = await foreign((_request, response) => answer(response, 500, bug));
  await assert.rejects(broken.contree.system.whoami(), faults('INTERNAL', /incident 7/u));
  assert.equal(broken.requests.length, 1);
});

test('answers in another shape are refused, answers with fewer optional fields are understood', async () => {
  await using strange = await foreign((_request, response) => answer(response, 200, { pictures: [] }));
  await assert.rejects(
    strange.contree.images.list({}),
    faults('REMOTE_FAILED', /unknown format \(ImageListResponse, images/u),
  );
  await using page = await foreign((_request, response) => answer(response, 200, '<html>sign in</html>'));
  await assert.rejects(page.contree.system.whoami(), faults('REMOTE_FAILED', /not valid JSON/u));
  await using sparse = await foreign((_request, response) => answer(response, 200, { ...OPERATION, duration: null }));
  const operation = await sparse.contree.operations.get(IMAGE);
  assert.deepEqual([operation.duration, operation.error, operation.result], [0, null, null]);
});

test('a server that cannot be reached is said so', async () => {
  const remote = { url: 'http://127.0.0.1:9', env: {} };
  await using refused = await connect({ version: '1', program: 'contree', server: { remote } });
  await assert.rejects(refused.system.whoami(), faults('REMOTE_FAILED', /ECONNREFUSED/u));
});

function sse(response: ServerResponse, ...events: Partial<OperationEvent>[]): void {
  response.writeHead(200, { 'Content-Type': 'text/event-stream' });
  for (const event of events) {
    response.write(
      `: keepalive\n\nid: ${event.id}\nevent: ${event.type}\ndata: ${JSON.stringify({ ts: 'x', ...event })}\n\n`,
    );
  }
}

const OUT = { type: 'stdout', spid: 1, data: { value: 'x', encoding: 'ascii' } } as const;
const END = {
  type: 'completion',
  spid: 0,
  data: { status: 'SUCCESS', duration_ms: 1, result_image_uuid: null, error: null, image_size_bytes: null },
} as const;

async function follow(server: Awaited<ReturnType<typeof foreign>>): Promise<string[]> {
  const seen: string[] = [];
  for await (const event of server.contree.operations.events(IMAGE, { follow: true }))
    seen.push(`${event.id} ${event.type}`);
  return seen;
}

test('a server that begins no answer is given up, and not asked again', async () => {
  let asked = 0;
  const silent: Sender = {
    send: async ({ timeoutMs }) => {
      asked += 1;
      throw new SilentError(`no answer in ${timeoutMs} ms`);
    },
  };
  const requester = new Requester({ transport: silent, checked: true });
  const request = requester.open({ method: 'GET', path: '/images', timeoutMs: 7 }, { kind: 'server' });
  await assert.rejects(request, faults('REMOTE_FAILED', /^the server does not answer: no answer in 7 ms$/u));
  assert.equal(asked, 1);
  // The transport of the network says so itself.
  await using server = await foreign(() => {});
  using transport = new HttpTransport({ url: server.url, headers: {} });
  await assert.rejects(transport.send({ method: 'GET', path: '/images', timeoutMs: 20 }), SilentError);
});

test('a broken stream is resumed after the last id, whatever broke it', async () => {
  const ends: ((response: ServerResponse) => void)[] = [
    (response) => response.destroy(),
    (response) => response.end(),
    (response) => response.end(': stream ended with error\nevent: sse_error\ndata: not JSON\n\n'),
  ];
  await using server = await foreign((request, response) => {
    if (!request.url?.includes('/events')) return answer(response, 200, { ...OPERATION, status: 'EXECUTING' });
    const last = Number(request.headers['last-event-id'] ?? -1);
    const end = ends[last + 1];
    if (end === undefined) return sse(response, { id: last, ...OUT }, { id: last + 1, ...END });
    sse(response, { id: last + 1, ...OUT });
    // After the event has been sent, the connection ends in one of the three ways.
    setImmediate(end, response);
  });
  assert.deepEqual(await follow(server), ['0 stdout', '1 stdout', '2 stdout', '3 completion']);
});

test('where there is no log the operation is polled, and its completion made from its status', async () => {
  let polls = 0;
  await using server = await foreign((request, response) => {
    if (request.url?.includes('/events')) return answer(response, 404, { error: 'not found' });
    polls += 1;
    const status = polls > 1 ? 'SUCCESS' : 'EXECUTING';
    answer(response, 200, { ...OPERATION, status, duration: 2.5, result_image_uuid: IMAGE });
  });
  const [completion, ...rest] = await Array.fromAsync(server.contree.operations.events(IMAGE, { follow: true }));
  assert.deepEqual(rest, []);
  assert.ok(completion?.type === 'completion');
  const { status, duration_ms, result_image_uuid } = completion.data;
  assert.deepEqual([status, duration_ms, result_image_uuid], ['SUCCESS', 2500, IMAGE]);
});

test('a file from a server without ranges is cut to what was asked for', async () => {
  await using server = await foreign((_request, response) => {
    response.writeHead(200, { 'Content-Length': '10' });
    response.end('0123456789');
  });
  const part = await server.contree.files.read(IMAGE, { path: '/f', offset: 3, length: 4 });
  assert.deepEqual([part.size, await text(part.body)], [10, '3456']);
  const rest = await server.contree.files.read(IMAGE, { path: '/f', offset: 8 });
  assert.equal(await text(rest.body), '89');
  const none = await server.contree.files.read(IMAGE, { path: '/f', length: 0 });
  assert.equal(await text(none.body), '');
});

test('stat on a server without it looks into the parent directory', async () => {
  const file = {
    size: 3,
    path: 'f',
    owner: 0,
    group: 0,
    uid: 0,
    gid: 0,
    mode: 33188,
    mtime: 0,
    nlink: 1,
    symlink_to: '',
  };
  const kind = { is_dir: false, is_regular: true, is_symlink: false, is_socket: false, is_fifo: false };
  await using server = await foreign((request, response) => {
    if (request.url?.includes('/stat')) return answer(response, 404, { error: 'not found' });
    answer(response, 200, { path: '/d', files: [{ ...file, ...kind }] });
  });
  assert.equal((await server.contree.files.stat(IMAGE, { path: '/d/f' })).path, '/d/f');
  assert.match(server.requests[1]?.url ?? '', /list\?path=%2Fd$/u);
  await assert.rejects(server.contree.files.stat(IMAGE, { path: '/d/g' }), faults('FILE_NOT_FOUND'));
});

test('an upload that the server refuses half-way reports the refusal, not the broken pipe', async () => {
  await using server = await foreign((request, response) => {
    request.once('data', () => answer(response, 413, { error: 'too much' }, { Connection: 'close' }));
  });
  let sent = 0;
  async function* endless(): AsyncGenerator<Uint8Array> {
    for (; sent < 10_000; sent += 1) yield Buffer.alloc(65_536);
  }
  await assert.rejects(server.contree.uploads.create(endless()), faults('REMOTE_FAILED', /413: too much/u));
  assert.ok(sent < 10_000);
});
