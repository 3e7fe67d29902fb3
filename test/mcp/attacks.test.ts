import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { createServer } from 'node:net';
import {
  appendFileSync,
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { extract } from 'tar';
import { LayerBuilder, type LayerEntry } from '../../src/layers/layer-builder.ts';
import { EMPTY_IMAGE_CONFIG } from '../../src/contract/image.ts';
import { NO_XATTRS } from '../../src/erofs/node.ts';
import { LocalFolders } from '../../src/transfer/local-folders.ts';
import { collect } from '../../src/std/bytes.ts';
import { once as chunk } from '../engine/bench.ts';
import { clientOfSocket } from '../support/client.ts';
import { connectMcp, ERAS, type TestConnection } from '../support/mcp/client.ts';
import { serveBench, type ServedEngine } from '../support/servers/served-engine.ts';

/*
 * Attacks by someone who controls names, files or images, end to end through the tools: the real client, the real
 * server, the engine behind its socket. Numbers are those of docs/attacks.md.
 */

interface Place extends AsyncDisposable {
  readonly engine: ServedEngine;
  readonly mcp: TestConnection;
  /** Folder that tools may access. */
  readonly root: string;
  /** Folder next to it, with a canary. */
  readonly outside: string;
  readonly canary: string;
}

async function openPlace(): Promise<Place> {
  await using stack = new AsyncDisposableStack();
  const top = realpathSync(mkdtempSync(join(tmpdir(), 'contree-attack-')));
  stack.defer(() => rmSync(top, { recursive: true, force: true }));
  const [root, outside] = [join(top, 'root'), join(top, 'outside')];
  mkdirSync(root);
  mkdirSync(outside);
  const canary = join(outside, 'canary');
  writeFileSync(canary, 'canary');
  const engine = stack.use(await serveBench());
  const cache = { path: join(top, 'cache/hashes.db'), keptDays: 60 };
  const localFiles = new LocalFolders({ roots: [root], cache, namedBy: 'model' });
  const mcp = stack.use(
    await connectMcp(() => Promise.resolve(clientOfSocket(engine.socket)), 'modern', { localFiles }),
  );
  const owned = stack.move();
  return { engine, mcp, root, outside, canary, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** Makes an image of the given entries. */
async function imageOf(
  { bench }: ServedEngine,
  entries: Readonly<Record<string, Partial<LayerEntry>>>,
): Promise<string> {
  const { layers, images } = bench.store;
  await using staged = layers.stage();
  await using builder = await LayerBuilder.create(staged.path);
  const metadata = { mode: 0o755, uid: 0, gid: 0, mtimeSeconds: 1_700_000_000, mtimeNanoseconds: 0, xattrs: NO_XATTRS };
  for (const [path, entry] of Object.entries(entries)) {
    await builder.add(path, { ...metadata, type: 'directory', ...entry } as LayerEntry);
  }
  const layer = await layers.publish(staged, await builder.finish());
  return images.create({ layers: [layer.digest], config: EMPTY_IMAGE_CONFIG }).uuid;
}

const file = (text: string, mode = 0o644): Partial<LayerEntry> => ({
  type: 'file',
  mode,
  size: Buffer.byteLength(text),
  content: chunk(text),
});

/** Swaps a folder for a symlink to another and back, until disposed. */
function swapping(folder: string, target: string): AsyncDisposable {
  const stop = new AbortController();
  const swapper = (async () => {
    while (!stop.signal.aborted) {
      renameSync(folder, `${folder}.aside`);
      symlinkSync(target, folder);
      await new Promise(setImmediate);
      unlinkSync(folder);
      renameSync(`${folder}.aside`, folder);
      await new Promise(setImmediate);
    }
  })();
  return {
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      await swapper;
    },
  };
}

test('attack 13: links out, loops, pipes, sockets, devices, what grows: links stay links, the rest is skipped and said', async () => {
  await using place = await openPlace();
  const { root, mcp, engine } = place;
  writeFileSync(join(root, 'plain'), 'plain');
  symlinkSync(place.outside, join(root, 'to-folder'));
  symlinkSync(place.canary, join(root, 'to-file'));
  symlinkSync('loop', join(root, 'loop'));
  assert.equal(spawnSync('mkfifo', [join(root, 'pipe')]).status, 0);
  const socket = createServer().listen(join(root, 'socket'));
  await once(socket, 'listening');
  const asRoot = process.getuid?.() === 0 && spawnSync('mknod', [join(root, 'device'), 'c', '1', '5']).status === 0;
  const growing = join(root, 'growing');
  writeFileSync(growing, Buffer.alloc(2 * 1024 * 1024, 'x'));
  const stop = new AbortController();
  const writer = (async () => {
    for (; !stop.signal.aborted; await new Promise(setImmediate)) appendFileSync(growing, 'y');
  })();
  const { structured, text } = await mcp.call('rsync', { source: root, destination: '/work' });
  stop.abort();
  await writer;
  socket.close();
  const skipped = (structured.skipped as string[]).map((line) => line.replace(/\d+ bytes/u, 'N bytes')).toSorted();
  assert.deepEqual(skipped, [
    ...(asRoot ? ['device (a device)'] : []),
    'growing (is being written; its first N bytes are sent)',
    'pipe (a FIFO)',
    'socket (a socket)',
  ]);
  assert.match(text, /skipped: .*pipe \(a FIFO\)/u);
  const entries = await engine.bench.store.states.entries(structured.directory_state_id);
  const found = Object.fromEntries(entries.map(({ path, symlink_to: target }) => [path, target ?? 'content']));
  assert.deepEqual(found, {
    '/work/growing': 'content',
    '/work/loop': 'loop',
    '/work/plain': 'content',
    '/work/to-file': place.canary,
    '/work/to-folder': place.outside,
  });
});

test('attack 14: a source outside, through links or swapped in between, a thousand times: nothing of it is read', async () => {
  await using place = await openPlace();
  const { root, mcp, outside } = place;
  symlinkSync(outside, join(root, 'out'));
  for (const source of [outside, join(root, 'out'), `${root}/../outside`, '/etc', '/proc/self', '~', '/']) {
    const { text } = await mcp.call('rsync', { source, destination: '/work' });
    assert.match(text, /^PATH_OUTSIDE_ROOT/u, source);
  }
  const inside = join(root, 'd');
  mkdirSync(inside);
  writeFileSync(join(inside, 'canary'), 'mine');
  const seen = new Map<string, number>();
  {
    await using _swapper = swapping(inside, outside);
    for (let attempt = 0; attempt < 1_000; attempt += 1) {
      const { text, structured, isError } = await mcp.call('upload', { path: join(inside, 'canary') });
      const outcome = isError ? (text.split(':')[0] ?? '') : structured.sha256;
      seen.set(outcome, (seen.get(outcome) ?? 0) + 1);
      // Not synchronized with the thread that swaps.
      if (attempt % 3 === 0) await new Promise(setImmediate);
    }
  }
  const { sha256: mine } = (await mcp.call('upload', { content: 'mine' })).structured;
  assert.deepEqual(
    [...seen.keys()].filter((outcome) => outcome !== mine && !/^(?:PATH|LOCAL_FILE)_/u.test(outcome)),
    [],
  );
  assert.ok((seen.get(mine) ?? 0) > 0 && seen.size > 1, `both happened: ${JSON.stringify([...seen])}`);
});

test('attack 15: a destination that is a link, a folder, read-only, above the root, swapped: replaced inside or refused', async () => {
  await using place = await openPlace();
  const { engine, root, outside, canary, mcp } = place;
  const image = await imageOf(engine, { tool: file('#!/bin/sh\n', 0o6755) });
  const download = async (destination: string, more = {}): Promise<string> => {
    const { isError, text, structured } = await mcp.call('download', { image, path: '/tool', destination, ...more });
    return isError ? (text.split(':')[0] ?? '') : structured.destination;
  };
  symlinkSync(canary, join(root, 'link'));
  assert.equal(await download(join(root, 'link')), join(root, 'link'));
  assert.ok(lstatSync(join(root, 'link')).isFile());
  writeFileSync(join(root, 'fixed'), 'old');
  chmodSync(join(root, 'fixed'), 0o444);
  await download(join(root, 'fixed'), { executable: true });
  assert.equal(lstatSync(join(root, 'fixed')).mode & 0o7000, 0, 'no set-user-id bit comes from an image');
  mkdirSync(join(root, 'folder/tool'), { recursive: true });
  assert.equal(await download(join(root, 'folder')), 'ARGUMENT_INVALID');
  symlinkSync(outside, join(root, 'out'));
  for (const path of [`${root}/../outside/x`, `${root}/out/x`, '/tmp/x', `${root}/out/`]) {
    assert.equal(await download(path), 'PATH_OUTSIDE_ROOT', path);
  }
  assert.equal(await download(join(root, 'fixed'), { overwrite: false }), 'DESTINATION_EXISTS');
  const inside = join(root, 'd');
  mkdirSync(inside);
  {
    await using _swapper = swapping(inside, outside);
    for (let attempt = 0; attempt < 300; attempt += 1) {
      await download(join(inside, 'x'));
      if (attempt % 3 === 0) await new Promise(setImmediate);
    }
  }
  assert.deepEqual(readdirSync(outside), ['canary']);
  assert.equal(readFileSync(canary, 'utf8'), 'canary');
});

/** Names as text (std/path-text.ts) and as bytes. */
const HOSTILE_NAMES: readonly (readonly [string, Buffer])[] = [
  ['new\nline', Buffer.from('new\nline')],
  ['\u001b[2J\u001b]0;owned\u0007', Buffer.from('\u001b[2J\u001b]0;owned\u0007')],
  ['\u202egpj.exe', Buffer.from('\u202egpj.exe')],
  ['bad\\xff', Buffer.from([0x62, 0x61, 0x64, 0xff])],
  ['n'.repeat(255), Buffer.from('n'.repeat(255))],
];

test('attack 16: names that steer terminals or are no text are listed harmless, read and downloaded byte by byte', async () => {
  await using place = await openPlace();
  const { engine, mcp, root } = place;
  const entries = HOSTILE_NAMES.map(([, bytes]) => [bytes.toString('latin1'), file('content')] as const);
  const image = await imageOf(engine, Object.fromEntries(entries));
  const { structured, text } = await mcp.call('list_files', { image });
  assert.deepEqual(
    (structured.files as { name: string }[]).map(({ name }) => name).toSorted(),
    HOSTILE_NAMES.map(([name]) => name).toSorted(),
  );
  assert.equal(text.split('\n').length, HOSTILE_NAMES.length + 1, 'one line each');
  // oxlint-disable-next-line no-control-regex
  assert.doesNotMatch(text, /[\u0000-\u0009\u000b-\u001f\u202a-\u202e]/u);
  for (const [name] of HOSTILE_NAMES) {
    const read = await mcp.call('read_file', { image, path: `/${name}` });
    assert.equal(read.structured.content, 'content', JSON.stringify(name));
    await mcp.call('download', { image, path: `/${name}`, destination: `${root}/` });
  }
  const arrived = readdirSync(root, { encoding: 'buffer' }).map((name) => name.toString('hex'));
  assert.deepEqual(arrived.toSorted(), HOSTILE_NAMES.map(([, bytes]) => bytes.toString('hex')).toSorted());
});

const run = promisify(execFile);

/** Programs that unpack an archive into a folder. */
const EXTRACTORS: Readonly<Record<string, (archive: string, folder: string) => Promise<unknown>>> = {
  'GNU tar': (archive, folder) => run('tar', ['-xf', archive, '-C', folder]),
  bsdtar: (archive, folder) => run('bsdtar', ['-xf', archive, '-C', folder]),
  busybox: (archive, folder) => run('busybox', ['tar', '-xf', archive, '-C', folder]),
  'node-tar': (archive, folder) => extract({ file: archive, cwd: folder, strict: false }),
  Python: (archive, folder) =>
    run('python3', ['-c', 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])', archive, folder]),
};

test('attack 17: an archive of a folder with links out of it unpacks inside, whoever unpacks it', async () => {
  await using place = await openPlace();
  const { engine, outside, canary } = place;
  const link = (target: string): Partial<LayerEntry> => ({ type: 'symlink', target });
  const image = await imageOf(engine, {
    tree: {},
    'tree/root': link('/'),
    'tree/up': link('../..'),
    'tree/out': link(outside),
    'tree/canary': link(canary),
    'tree/through': link('out/canary'),
    'tree/plain': file('plain'),
  });
  await using contree = clientOfSocket(engine.socket);
  const archive = join(place.root, 'tree.tar');
  await writeFile(archive, await collect(await contree.files.archive(image, { path: '/tree' }), 1024 * 1024));
  for (const [name, unpack] of Object.entries(EXTRACTORS)) {
    const folder = mkdtempSync(join(place.root, 'unpacked-'));
    await unpack(archive, folder);
    assert.equal(readFileSync(join(folder, 'tree/plain'), 'utf8'), 'plain', name);
    assert.deepEqual(readdirSync(folder), ['tree'], name);
    assert.deepEqual(readdirSync(outside), ['canary'], name);
    assert.equal(readFileSync(canary, 'utf8'), 'canary', name);
  }
});

test('attack 18: uploads of every awkward size are whole, kept once, and a damaged one is noticed and sent again', async () => {
  await using place = await openPlace();
  const { engine, mcp, root } = place;
  const { files } = engine.bench.store;
  for (const size of [0, 1, 128 * 1024, 128 * 1024 + 1, 256 * 1024, 4 * 1024 * 1024]) {
    const path = join(root, `file-${size}`);
    writeFileSync(path, Buffer.alloc(size, size % 251));
    const before = files.usage().count;
    const [first, second] = [await mcp.call('upload', { path }), await mcp.call('upload', { path })];
    assert.deepEqual([first.structured.size, first.structured.reused], [size, undefined], `${size} bytes`);
    assert.deepEqual([second.structured.uuid, second.structured.reused], [first.structured.uuid, true]);
    assert.equal(files.usage().count, before + 1);
  }
  const sparse = join(root, 'sparse');
  writeFileSync(sparse, '');
  truncateSync(sparse, 64 * 1024 * 1024);
  assert.equal((await mcp.call('upload', { path: sparse })).structured.size, 64 * 1024 * 1024);
  const { sha256 } = (await mcp.call('upload', { path: join(root, `file-${256 * 1024}`) })).structured;
  writeFileSync(join(engine.bench.directory, 'files', sha256), Buffer.alloc(256 * 1024, 'z'));
  const use = async (): Promise<string> => {
    const sent = await mcp.call('upload', { path: join(root, `file-${256 * 1024}`) });
    const put = { '/x': sent.structured.uuid };
    return (await mcp.call('run', { command: 'true', image: engine.bench.base.uuid, files: put })).text;
  };
  assert.match(await use(), /UPLOAD_NOT_FOUND/u, 'what is on the disk is not what was uploaded');
  assert.match(await use(), /^exit code 0/u, 'the next upload sends it again');
});

for (const era of ERAS) {
  test(`attack 44: ${era}: resource addresses that climb, decode twice or name no tag are errors`, async () => {
    await using engine = await serveBench();
    await using mcp = await connectMcp(() => Promise.resolve(clientOfSocket(engine.socket)), era);
    const image = engine.bench.base.uuid;
    for (const uri of [
      'contree://image/../../etc/passwd',
      'contree://image/..%2F..%2Fetc%2Fpasswd',
      'contree://image/%252e%252e%252f%252e%252e%252fetc%252fpasswd',
      'contree://image/tag%3A..%2Fx/read/etc/passwd',
      'contree://image/tag:../x',
      `contree://image/${image}/read/%252e%252e/etc/shadow`,
      `contree://image/${image}/read/etc%2F..%2F..%2F..%2Fproc%2Fself%2Fenviron`,
      `contree://image/${image}/read/etc/passwd%00.txt`,
      `contree://image/${image}/read//`,
      'contree://operations/instance/..%2F..%2Fimages',
      'contree://operations/instance/%00',
      'contree://guide/..%2F..%2Fpackage.json',
      'file:///etc/passwd',
    ]) {
      await assert.rejects(mcp.client.readResource({ uri }), { code: -32_602 }, uri);
    }
    // Dots that stay inside affect only the image, never the host.
    const { contents } = await mcp.client.readResource({
      uri: `contree://image/${image}/read/root%2F..%2Fetc%2Fpasswd`,
    });
    assert.match(JSON.stringify(contents), /# base/u);
  });
}
