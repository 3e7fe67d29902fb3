import assert from 'node:assert/strict';
import { test } from 'node:test';
import { limits } from '../../src/contract/limits.ts';
import { startServer, type Answer } from '../support/servers/http-server.ts';

interface Operation {
  readonly uuid: string;
  readonly status: string;
  readonly result_image_uuid: string | null;
}

function uuidOf(answer: Answer): string {
  return (answer.json as { uuid: string }).uuid;
}

const UNKNOWN = '6f9619ff-8b86-4d01-b42d-00cf4fc964ff';

test('images: listed in an object, filtered by prefix, limited', async () => {
  await using server = await startServer();
  const image = server.contree.addImage({}, 'common/base:1');
  server.contree.addImage({});
  const { json, status, headers } = await server.send('GET', '/v1/images?tag=common/&tagged=1&kind=instance');
  assert.equal(status, 200);
  assert.equal(headers['content-type'], 'application/json');
  const images = (json as { images: { uuid: string; tag: string }[] }).images;
  assert.deepEqual(
    images.map(({ uuid, tag }) => [uuid, tag]),
    [[image, 'common/base:1']],
  );
  assert.equal(((await server.send('GET', '/v1/images?tagged=0')).json as { images: [] }).images.length, 2);
  assert.equal(((await server.send('GET', '/v1/images?limit=1')).json as { images: [] }).images.length, 1);
});

test('a limit outside of 1 to 1000 is refused in the words of the contract', async () => {
  await using server = await startServer();
  for (const limit of ['0', '1001', '-1', 'ten', '1e3', '']) {
    const { status, json } = await server.send('GET', `/v1/images?limit=${limit}`);
    assert.equal(status, 400, limit);
    assert.equal((json as { error: string }).error, 'limit must be between 1 and 1000');
  }
});

test('a tag lookup redirects to a relative location that answers with the image, under any path prefix', async () => {
  await using server = await startServer();
  const image = server.contree.addImage({}, 'busybox:latest');
  const { status, headers } = await server.send('GET', '/sandboxes/v1/inspect/?tag=busybox:latest');
  assert.deepEqual([status, headers.location], [302, `${image}/`]);
  const target = new URL(headers.location ?? '', 'http://x/sandboxes/v1/inspect/').pathname;
  assert.equal(uuidOf(await server.send('GET', target)), image);
  assert.deepEqual((await server.send('GET', '/v1/inspect/')).json, {
    error: 'tag is required',
    status: 400,
    code: 'ARGUMENT_INVALID',
    class: 'invalid',
    message: 'tag is required',
    hint: 'Correct the named argument and try again.',
    detail: { reason: 'tag is required' },
  });
  assert.equal((await server.send('GET', '/v1/inspect/?tag=nobody')).status, 404);
  assert.equal((await server.send('GET', '/v1/inspect/?tag=No%20Tag%0a')).status, 404);
});

test('paths without their trailing slash redirect to the form with it, query kept', async () => {
  await using server = await startServer();
  const image = server.contree.addImage();
  const bare = await server.send('GET', '/v1/inspect?tag=a');
  assert.deepEqual([bare.status, bare.headers.location], [307, 'inspect/?tag=a']);
  const info = await server.send('GET', `/v1/inspect/${image}`);
  assert.deepEqual([info.status, info.headers.location], [307, `${image}/`]);
});

test('tags: set answers the image, removing a named one is 204, removing "the" tag answers the image', async () => {
  await using server = await startServer();
  const image = server.contree.addImage({}, 'one');
  const set = await server.send('PATCH', `/v1/images/${image}/tag`, { body: { tag: 'two' } });
  assert.deepEqual([set.status, (set.json as { tag: string }).tag], [200, 'two']);
  const removed = await server.send('DELETE', `/v1/images/${image}/tag?tag=two`);
  assert.deepEqual([removed.status, removed.text], [204, '']);
  const last = await server.send('DELETE', `/v1/images/${image}/tag`);
  assert.deepEqual([last.status, (last.json as { tag: null }).tag], [200, null]);
  assert.equal((await server.send('PATCH', `/v1/images/${UNKNOWN}/tag`, { body: { tag: 'x' } })).status, 404);
  assert.equal((await server.send('PATCH', `/v1/images/${image}/tag`, { body: { tag: 'A b' } })).status, 400);
});

test('import: 201 with Location, credentials and bare registries as old clients send them', async () => {
  await using server = await startServer();
  const registry = { url: 'docker://docker.io/library/busybox', credentials: { username: '', password: '' } };
  const { status, headers, json } = await server.send('POST', '/v1/images/import', { body: { registry, tag: null } });
  assert.equal(status, 201);
  assert.equal(headers.location, `/v1/operations/${(json as { uuid: string }).uuid}`);
  assert.equal((await server.send('POST', '/v1/images/import', { body: { registry: 'alpine' } })).status, 201);
  assert.deepEqual(server.contree.imported, [{ registry, tag: null }, { registry: { url: 'alpine' } }]);
});

test('files: upload, look up by sha256 and by uuid, in the new and in the old way', async () => {
  await using server = await startServer();
  const { status, json } = await server.send('POST', '/v1/files', { body: 'hello' });
  assert.equal(status, 201);
  const { uuid, sha256, size } = json as { uuid: string; sha256: string; size: number };
  assert.equal(size, 5);
  assert.equal(uuidOf(await server.send('POST', '/v1/files', { body: 'hello' })), uuid, 'the same content is one file');
  assert.equal(uuidOf(await server.send('GET', `/v1/files/${sha256}`)), uuid);
  assert.equal(uuidOf(await server.send('GET', `/v1/files/${uuid}`)), uuid);
  assert.deepEqual((await server.send('GET', `/v1/files?sha256=${sha256}`)).json, { uuid, sha256, size });
  for (const path of [`/v1/files/${sha256}`, `/v1/files?sha256=${sha256}`, `/v1/files?uuid=${uuid}`]) {
    assert.equal((await server.send('HEAD', path)).status, 200, path);
  }
  for (const path of [`/v1/files/${'0'.repeat(64)}`, `/v1/files?uuid=${UNKNOWN}`, '/v1/files/..%2f..%2fetc']) {
    const absent = await server.send('HEAD', path);
    assert.deepEqual([absent.status, absent.text], [404, ''], path);
  }
  const listed = (await server.send('GET', '/v1/files?limit=1000&since=15m')).json as { files: { sha256: string }[] };
  assert.equal(listed.files[0]?.sha256, sha256);
});

test('spawn: tolerates what old clients send, echoes the request, and runs', async () => {
  await using server = await startServer();
  const image = server.contree.addImage();
  const body = { command: 'echo hi', image, shell: true, args: [], env: null, stdin: { value: '', truncated: false } };
  const { status, headers, json } = await server.send('POST', '/v1/instances', {
    body: { ...body, result: null, hostname: null, files: { '/a': { uuid: UNKNOWN, mode: '0o100644' } } },
  });
  assert.equal(status, 201);
  const { uuid, command, env } = json as { uuid: string; command: string; env: null };
  assert.deepEqual([command, env, headers.location], ['echo hi', null, `/v1/operations/${uuid}`]);
  const log = await server.send('GET', `/v1/operations/${uuid}/events?follow=1`);
  assert.match(log.text, /event: completion/u);
  const operation = (await server.send('GET', `/v1/operations/${uuid}?inflight=1`)).json as Operation;
  assert.deepEqual([operation.status, operation.result_image_uuid], ['SUCCESS', image]);
});

test('spawn: unknown fields are named, wherever they are', async () => {
  await using server = await startServer();
  const image = server.contree.addImage();
  const body = {
    command: 'true',
    image,
    comand: 1,
    networking: { enable: true },
    files: { '/a': { uuid: 'x', owner: 1 } },
  };
  const { status, json } = await server.send('POST', '/v1/instances', { body });
  assert.equal(status, 400);
  assert.match((json as { error: string }).error, /"comand", "networking.enable", "files.\/a.owner"/u);
  assert.equal(server.contree.spawned.length, 0);
});

test('operations: an array, filtered; cancel is 202 once and 409 afterwards', async () => {
  await using server = await startServer();
  const image = server.contree.addImage();
  const uuid = uuidOf(await server.send('POST', '/v1/instances', { body: { command: 'sleep', image } }));
  const listed = (await server.send('GET', '/v1/operations?status=EXECUTING&kind=instance')).json as Operation[];
  assert.deepEqual(
    listed.map((operation) => operation.uuid),
    [uuid],
  );
  const cancelled = await server.send('DELETE', `/v1/operations/${uuid}`);
  assert.deepEqual([cancelled.status, cancelled.text], [202, '']);
  const again = await server.send('DELETE', `/v1/operations/${uuid}`);
  assert.equal(again.status, 409);
  assert.match((again.json as { error: string }).error, /not cancellable/u);
  assert.equal((await server.send('GET', '/v1/operations?status=RUNNING')).status, 400);
  assert.equal((await server.send('GET', `/v1/operations/${UNKNOWN}`)).status, 404);
  assert.equal((await server.send('GET', '/v1/operations/nonsense')).status, 404);
});

test('subprocesses: exec, stdin, result, signal and size', async () => {
  await using server = await startServer();
  const image = server.contree.addImage();
  const uuid = uuidOf(await server.send('POST', '/v1/instances', { body: { command: 'sleep', image } }));
  const base = `/v1/operations/${uuid}/subprocesses`;
  const exec = await server.send('POST', base, { body: { command: 'cat', stdin: { value: '', close: false } } });
  assert.deepEqual([exec.status, exec.json], [201, { spid: 2 }]);
  const input = await server.send('POST', `${base}/2/stdin`, { body: { value: 'marker\n', encoding: 'ascii' } });
  assert.deepEqual([input.status, input.text], [204, '']);
  await server.send('GET', `/v1/operations/${uuid}/events?spid=2`);
  const result = (await server.send('GET', `${base}/2`)).json as {
    stdout: { value: string };
    state: { exit_code: number };
  };
  assert.deepEqual([result.stdout.value, result.state.exit_code], ['marker\n', 0]);
  const running = (await server.send('GET', `${base}/1`)).json as { state: { exit_code: number; signal: number } };
  assert.deepEqual([running.state.exit_code, running.state.signal], [-1, -1]);
  assert.equal((await server.send('POST', `${base}/1/resize`, { body: { columns: 80, rows: 24 } })).status, 204);
  assert.equal((await server.send('DELETE', `${base}/1?signal=SIGTERM`)).status, 204);
  assert.deepEqual(server.contree.signalsSent, ['TERM']);
  assert.equal((await server.send('GET', `${base}/9`)).status, 404);
  assert.equal((await server.send('GET', `${base}/x`)).status, 400);
});

test('inspect: list, text list, download with ranges, archive, grep, stat, diff, lineage, export', async () => {
  await using server = await startServer();
  const image = server.contree.addImage({ '/etc/passwd': 'root:x:0\n', '/etc/hosts': 'a\n' }, 'base');
  const base = `/v1/inspect/${image}`;
  const listing = (await server.send('GET', `${base}/list?path=/etc`)).json as {
    path: string;
    files: { path: string }[];
  };
  assert.deepEqual([listing.path, listing.files.map(({ path }) => path)], ['/etc', ['hosts', 'passwd']]);
  const asText = await server.send('GET', `${base}/list?path=/etc&text=`);
  assert.match(asText.headers['content-type'] ?? '', /^text\/plain/u);
  assert.match(asText.text, /^total 0\.01 KB\n/u);
  assert.match(asText.text, /^-rw-r--r-- 1 root root 2 .* hosts$/mu);
  assert.equal((await server.send('GET', `${base}/list`)).status, 400);
  assert.equal((await server.send('GET', `${base}/list?path=/nope`)).status, 404);
  assert.equal((await server.send('GET', `${base}/list?path=/etc/hosts`)).status, 422);

  const whole = await server.send('GET', `${base}/download?path=/etc/passwd`);
  assert.deepEqual([whole.status, whole.headers['content-length'], whole.text], [200, '9', 'root:x:0\n']);
  assert.equal(whole.headers['content-type'], 'application/octet-stream');
  const text = await server.send('GET', `${base}/download?path=/etc/passwd&text`);
  assert.deepEqual([text.headers['content-type'], text.text], ['text/plain; charset=utf-8', 'root:x:0\n']);
  const part = await server.send('GET', `${base}/download?path=/etc/passwd`, { headers: { Range: 'bytes=-4' } });
  assert.deepEqual([part.status, part.headers['content-range'], part.text], [206, 'bytes 5-8/9', 'x:0\n'.slice(-4)]);
  const outside = await server.send('GET', `${base}/download?path=/etc/passwd`, { headers: { Range: 'bytes=9-' } });
  assert.deepEqual([outside.status, outside.headers['content-range']], [416, 'bytes */9']);
  const head = await server.send('HEAD', `${base}/download?path=/etc/passwd`);
  assert.deepEqual([head.status, head.headers['content-length'], head.text], [200, '9', '']);
  assert.equal((await server.send('HEAD', `${base}/download?path=/etc`)).status, 422);
  assert.equal((await server.send('HEAD', `${base}/download?path=/nope`)).status, 404);

  const archive = await server.send('GET', `${base}/archive?path=/etc`);
  assert.equal(archive.headers['content-disposition'], 'attachment; filename="etc.tar"');
  assert.deepEqual([archive.headers['content-type'], archive.text], ['application/x-tar', 'tar of /etc']);
  assert.equal((await server.send('HEAD', `${base}/archive?path=/etc`)).status, 200);
  assert.equal((await server.send('HEAD', `${base}/archive?path=/nope`)).status, 404);

  const grep = (await server.send('GET', `${base}/grep?pattern=root&path=/etc&path=/opt`)).json as { matches: [] };
  assert.equal(grep.matches.length, 1);
  assert.equal((await server.send('GET', `${base}/grep`)).status, 400);
  for (const [within, beyond] of [
    ['max_total=10000', 'max_total=10001'],
    ['max_count=10000', 'max_count=10001'],
    ['before=50&after=50', 'before=51'],
    ['path=/etc'.concat('&path=/etc'.repeat(15)), 'path=/etc'.concat('&path=/etc'.repeat(16))],
    ['pattern=a'.concat('&pattern=a'.repeat(14)), 'pattern=a'.concat('&pattern=a'.repeat(15))],
    [`pattern=${'a'.repeat(1_024)}`, `pattern=${'a'.repeat(1_025)}`],
  ]) {
    assert.equal((await server.send('GET', `${base}/grep?pattern=root&${within}`)).status, 200, within);
    assert.equal((await server.send('GET', `${base}/grep?pattern=root&${beyond}`)).status, 400, beyond);
  }
  assert.equal(((await server.send('GET', `${base}/stat?path=/etc`)).json as { is_dir: boolean }).is_dir, true);
  const diff = (await server.send('GET', `${base}/diff?to=tag:base`)).json as { entries: [] };
  assert.deepEqual(diff.entries, []);
  const lineage = (await server.send('GET', `/v1/images/tag:base/lineage`)).json as { root: string };
  assert.equal(lineage.root, image);
  assert.equal((await server.send('GET', `/v1/images/${image}/export`)).text, `layout of ${image}`);
});

test('delete names what is gone, and refuses what others need', async () => {
  await using server = await startServer();
  const image = server.contree.addImage();
  const uuid = uuidOf(await server.send('POST', '/v1/instances', { body: { command: 'touch', args: ['/a'], image } }));
  await server.send('GET', `/v1/operations/${uuid}/events?follow=1`);
  const refused = await server.send('DELETE', `/v1/images/${image}`);
  assert.deepEqual([refused.status, (refused.json as { code: string }).code], [409, 'IMAGE_IN_USE']);
  const gone = await server.send('DELETE', `/v1/images/${image}?cascade=1`);
  assert.equal((gone.json as { deleted: [] }).deleted.length, 2);
  assert.equal((await server.send('GET', `/v1/inspect/${image}/`)).status, 404);
});

test('directory states say which contents are missing', async () => {
  await using server = await startServer();
  const { sha256 } = (await server.send('POST', '/v1/files', { body: 'x' })).json as { sha256: string };
  const missing = 'f'.repeat(64);
  const entry = { path: '/a', mode: 0o644 };
  const offer = {
    entries: [
      { ...entry, sha256 },
      { ...entry, sha256: missing },
    ],
  };
  assert.deepEqual((await server.send('POST', '/v1/directory-states', { body: offer })).json, { missing: [missing] });
  const made = await server.send('POST', '/v1/directory-states', { body: { entries: [{ ...entry, sha256 }] } });
  assert.equal((made.json as { state: { entries: number } }).state.entries, 1);
});

test('an unknown route and an unused method are 404 in the one error shape', async () => {
  await using server = await startServer();
  for (const [method, path] of [
    ['GET', '/v1/nope'],
    ['PUT', '/v1/images'],
    ['GET', '/'],
    ['GET', '/v1'],
  ] as const) {
    const { status, json } = await server.send(method, path);
    assert.deepEqual([status, (json as { code: string }).code], [404, 'ROUTE_NOT_FOUND'], path);
  }
});

test('what is not a fault becomes an incident: logged whole, told by id, without a path of this host', async () => {
  const lines: unknown[] = [];
  const log = { debug: () => {}, info: () => {}, warn: () => {}, error: (...line: unknown[]) => void lines.push(line) };
  await using server = await startServer({ log });
  server.contree.system.gc = async () => {
    throw new Error('cannot open /var/secret/store.sqlite');
  };
  const { status, text, json } = await server.send('POST', '/v1/gc', { body: {} });
  assert.equal(status, 500);
  assert.doesNotMatch(text, /secret/u);
  const { code, detail } = json as { code: string; detail: { incident: string } };
  assert.equal(code, 'INTERNAL');
  assert.match(JSON.stringify(lines), /secret/u);
  assert.ok(JSON.stringify(lines).includes(detail.incident));
});

test('files in bulk: each after its length, answered in order; torn and oversized bodies are refused', async () => {
  await using server = await startServer();
  const framed = (...files: readonly string[]): Buffer =>
    Buffer.concat(files.flatMap((file) => [lengthOf(Buffer.byteLength(file)), Buffer.from(file)]));
  const lengthOf = (bytes: number): Buffer => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes);
    return length;
  };
  const send = (body: Buffer) => server.send('POST', '/v1/files/bulk', { body });
  const { status, json } = await send(framed('hello', '', 'x'.repeat(limits.bulkFileBytesMax)));
  assert.equal(status, 201);
  const { files } = json as { files: { size: number; sha256: string }[] };
  assert.deepEqual(
    files.map(({ size }) => size),
    [5, 0, limits.bulkFileBytesMax],
  );
  assert.equal((await server.contree.uploads.get(files[0]?.sha256 ?? '')).size, 5);
  assert.deepEqual((await send(Buffer.alloc(0))).json, { files: [] });
  const many = Buffer.alloc(4 * (limits.bulkFilesMax + 1));
  for (const [body, expected] of [
    [framed('hello').subarray(0, 7), 400],
    [Buffer.from([0, 0]), 400],
    [lengthOf(limits.bulkFileBytesMax + 1), 413],
    [many, 413],
  ] as const) {
    assert.equal((await send(body)).status, expected);
  }
  assert.equal((await send(many.subarray(4))).status, 201, 'as many as allowed');
});
