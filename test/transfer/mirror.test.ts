import assert from 'node:assert/strict';
import { chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { isFault } from '../../src/contract/errors.ts';
import { openEngine, run, script, type EngineBench } from '../engine/bench.ts';
import { benchFolder, type BenchFolder } from '../support/transfer-folder.ts';

/** Runs a command that leaves an image. */
async function imageOf(bench: EngineBench, command: string, options = {}): Promise<string> {
  const operation = await run(bench.engine, script(bench, command, options));
  assert.equal(operation.status, 'SUCCESS', operation.error ?? '');
  return operation.result_image_uuid!;
}

/** Syncs the folder as a mirror of the image's `/work`, runs with it, and returns what `/work` has then. */
async function mirror(bench: EngineBench, at: BenchFolder, image: string, destination = '/work') {
  const request = { source: at.root, destination, exclude: [], mirror: image };
  const report = await at.local.sync(bench.engine, request, { signal: new AbortController().signal });
  const after = await imageOf(bench, 'true', { image, directory_states: [report.directoryState] });
  return { removed: report.removed, state: report.directoryState, paths: await treeOf(bench, after, destination) };
}

async function treeOf({ engine }: EngineBench, image: string, folder: string): Promise<string[]> {
  const paths: string[] = [];
  for (const { path, is_dir: isFolder } of (await engine.files.list(image, { path: folder })).files) {
    const below = `${folder}/${path}`;
    paths.push(...(isFolder ? [`${below}/`, ...(await treeOf({ engine } as EngineBench, image, below))] : [below]));
  }
  return paths.toSorted();
}

test('a mirror removes what the folder lacks, and leaves alone what is left out of it', async () => {
  await using bench = await openEngine();
  using at = benchFolder();
  at.write('.gitignore', 'node_modules/\n*.log\n');
  at.write('test/one.py', '1');
  at.write('.env', 'TOKEN=1');
  at.write('became/dir', 'd');
  at.write('file', 'f');
  const image = await imageOf(
    bench,
    [
      'mkdir /work /work/test /work/gone /work/node_modules /work/half /work/half/node_modules /work/file /work/empty',
      'echo x > /work/test/one.py; echo x > /work/test/two.py; echo x > /work/gone/a; echo x > /work/node_modules/m',
      'echo x > /work/half/b; echo x > /work/half/node_modules/n; echo x > /work/a.log; echo x > /work/.env',
      'echo x > /work/file/inside; echo x > /work/became; echo x > /outside',
    ].join('; '),
  );
  const { paths, removed } = await mirror(bench, at, image);
  const kept = [
    '.env',
    'a.log',
    'half/',
    'half/node_modules/',
    'half/node_modules/n',
    'node_modules/',
    'node_modules/m',
  ];
  const own = ['.gitignore', 'became/', 'became/dir', 'file', 'test/', 'test/one.py'];
  assert.deepEqual(paths, [...kept, ...own].map((path) => `/work/${path}`).toSorted());
  assert.equal(removed, 4, 'test/two.py, gone, half/b, empty');
});

test('a state that removes is used again only where it removes the same', async () => {
  await using bench = await openEngine();
  using at = benchFolder();
  at.write('a', '1');
  const [old, bare] = [await imageOf(bench, 'mkdir /work; echo x > /work/b'), await imageOf(bench, 'mkdir /work')];
  const { paths, state } = await mirror(bench, at, old);
  assert.deepEqual(paths, ['/work/a']);
  const states = { directory_states: [state] };
  assert.deepEqual(await treeOf(bench, await imageOf(bench, 'true', { ...states, image: bare }), '/work'), ['/work/a']);
  assert.deepEqual(await treeOf(bench, await imageOf(bench, 'true', { ...states, image: old }), '/work'), ['/work/a']);
  const later = { ...states, image: old };
  assert.deepEqual(await treeOf(bench, await imageOf(bench, 'mkdir /work; echo new > /work/b', later), '/work'), [
    '/work/a',
    '/work/b',
  ]);
});

test('a mirror of what is not there is a sync; modes of files and folders are kept', async () => {
  await using bench = await openEngine();
  using at = benchFolder();
  at.write('bin/tool', '#!/bin/sh', 0o755);
  at.write('secret', 's', 0o600);
  mkdirSync(join(at.root, 'private'));
  chmodSync(join(at.root, 'private'), 0o700);
  const { removed } = await mirror(bench, at, bench.base.uuid, '/new/place');
  assert.equal(removed, 0);
  const report = await at.sync();
  assert.equal(report.removed, 0);
  const modes = Object.fromEntries(Object.values(at.contree.last).map(({ path, mode }) => [path, mode]));
  assert.deepEqual(
    ['bin/tool', 'secret', 'private'].map((path) => modes[`/work/${path}`]),
    [0o755, 0o600, 0o700],
  );
});

test('an entry is removed or has a content; and an image that is not there is named', async () => {
  await using bench = await openEngine();
  using at = benchFolder();
  const { sha256 } = await bench.engine.uploads.create(
    (async function* () {
      yield Buffer.from('x');
    })(),
  );
  const both = { path: '/x', sha256, mode: 0o644, removed: true as const };
  await assert.rejects(bench.engine.uploads.offerDirectory({ entries: [both] }), (error) =>
    isFault(error, 'PATH_INVALID'),
  );
  await assert.rejects(mirror(bench, at, 'tag:none'), (error) => isFault(error, 'IMAGE_NOT_FOUND'));
});
