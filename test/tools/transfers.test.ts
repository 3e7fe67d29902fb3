import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Progress } from '@modelcontextprotocol/client';
import { fault } from '../../src/contract/errors.ts';
import type { LocalFiles } from '../../src/transfer/local-files.ts';
import { connectMcp } from '../support/mcp/client.ts';
import { ScriptedContree } from '../support/scripted/contree.ts';

const LOCAL: LocalFiles = {
  sync: async (_contree, { source, exclude }, { onProgress }) => {
    if (source === '/nowhere') throw fault('PATH_OUTSIDE_ROOT', { path: source, roots: '/home/user' });
    for (let done = 0; done < 100; done++) onProgress?.({ done, total: 100, what: `file ${done}` });
    const skipped = Array.from({ length: 30 }, (_, index) => `.env.${index} (looks like a secret)`);
    return {
      directoryState: 'state-1',
      files: 100,
      uploaded: 3,
      reused: 97,
      bytes: 1_234,
      skipped: [...exclude, ...skipped],
      leftOut: { files: 3_000, of: 3_202, places: ['node_modules/'], more: 0 },
      removed: 2,
    };
  },
  upload: async () => ({ uuid: 'file-1', sha256: 'ab', size: 9, reused: true }),
  download: async (_contree, { destination, overwrite }) => {
    if (!overwrite) throw fault('DESTINATION_EXISTS', { path: destination });
    return { destination, size: 9, sha256: 'ab', overwritten: true };
  },
};

test('rsync answers with the state to run with, and names what it left out', async () => {
  await using mcp = await connectMcp(new ScriptedContree(), 'modern', { localFiles: LOCAL });
  const steps: Progress[] = [];
  const args = { source: '/home/user/p', destination: '/work', exclude: 'dist/' };
  const { structured, text } = await mcp.call('rsync', args, { onprogress: (step) => steps.push(step) });
  assert.equal(structured.directory_state_id, 'state-1');
  assert.deepEqual(
    [structured.skipped[0], structured.skipped.length, structured.skipped.at(-1)],
    ['dist/', 21, '… and 11 more'],
  );
  assert.match(
    text,
    /^directory state state-1 · 100 files, 1,234 bytes · 3 uploaded\nleft out: 3,000 of 3,202 files, in node_modules\/\n/u,
  );
  assert.deepEqual(
    steps.map(({ progress, total, message }) => [progress, total, message]),
    [[0, 100, 'file 0']],
    'one step a second at most',
  );
});

test('a path outside the allowed folders is refused with the folders that are allowed', async () => {
  await using mcp = await connectMcp(new ScriptedContree(), 'modern', { localFiles: LOCAL });
  const { text } = await mcp.call('rsync', { source: '/nowhere', destination: '/work' });
  assert.match(
    text,
    /^PATH_OUTSIDE_ROOT: "\/nowhere" is outside the allowed folders \(\/home\/user\)\nUse a path below/u,
  );
});

test('upload and download go through the allowed folders', async () => {
  const contree = new ScriptedContree();
  const image = contree.addImage({ '/f': 'x' });
  await using mcp = await connectMcp(contree, 'modern', { localFiles: LOCAL });
  const uploaded = (await mcp.call('upload', { path: '/home/user/f' })).structured;
  assert.deepEqual([uploaded.uuid, uploaded.reused], ['file-1', true]);
  const got = await mcp.call('download', { image, path: '/f', destination: '/home/user/f' });
  assert.deepEqual(got.structured, {
    destination: '/home/user/f',
    size: 9,
    sha256: 'ab',
    overwritten: true,
  });
  const kept = await mcp.call('download', { image, path: '/f', destination: '/home/user/f', overwrite: false });
  assert.match(kept.text, /^DESTINATION_EXISTS: .*\nCall again with overwrite=true/u);
});
