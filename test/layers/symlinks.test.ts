import assert from 'node:assert/strict';
import { test } from 'node:test';
import { imageOf, listing, Scratch } from '../support/layers.ts';
import type { TarMember } from '../support/tar.ts';

const link = (path: string, linkname: string): TarMember => ({ path, flag: '2', mode: 0o777, linkname });

test('a symlink below the root leads from where it lies, an absolute one from the root', async () => {
  await using scratch = await Scratch.create();
  const lower = [
    { path: 'usr/bin', flag: '5', mode: 0o755 },
    link('usr/near', 'bin'),
    link('usr/far', '/opt'),
    link('usr/out', '../srv'),
  ];
  const upper = [{ path: 'usr/near/tool' }, { path: 'usr/far/tool' }, { path: 'usr/out/tool' }];
  const [, layer] = await imageOf(scratch, lower, upper);
  const files = (await listing([layer!])).filter((line) => !line.endsWith('directory'));
  assert.deepEqual(
    files.map((line) => line.split(' ', 1)[0]),
    ['/opt/tool', '/srv/tool', '/usr/bin/tool'],
  );
});
