import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { commandUser, resolveUser } from '../../../src/images/inspect/users.ts';
import { Tree } from '../../../src/layers/tree.ts';
import { faults } from '../../conformance/faults.ts';
import { imageOf, Scratch } from '../../support/layers.ts';

/** Sections of a table that the tests of the guest agent, which resolves users for other commands, read as well. */
const GOLDEN = readFileSync(new URL('../../../guest/agent/golden/users.txt', import.meta.url), 'utf8');

function section(name: string): string {
  return (
    GOLDEN.split('== ')
      .find((text) => text.startsWith(`${name}\n`))
      ?.slice(name.length + 1) ?? ''
  );
}

function lines(name: string): readonly string[] {
  const found = section(name)
    .split('\n')
    .filter((line) => line !== '');
  assert.ok(found.length > 0, name);
  return found;
}

test('the user of a command is whom the guest would find', async () => {
  await using scratch = await Scratch.create();
  const files = ['passwd', 'group'].map((name) => ({ path: `etc/${name}`, content: section(name) }));
  await using tree = await Tree.open(await imageOf(scratch, [{ path: 'etc', flag: '5' }, ...files]));
  for (const line of lines('resolved')) {
    const [text = ''] = line.split(' ', 1);
    const { uid, gid, home = uid === 0 ? '/root' : '/' } = await commandUser(tree, text);
    assert.equal([text, uid, gid, home].join(' '), line);
  }
  for (const text of [...lines('unknown user'), ...lines('unknown group')]) {
    await assert.rejects(commandUser(tree, text), faults('ARGUMENT_INVALID'), text);
  }
  const { uid, gid } = await commandUser(tree, '');
  assert.deepEqual([uid, gid], [0, 0], 'an image that names nobody');
});

test('owners of files are numbers that need no account, and root needs none', async () => {
  await using scratch = await Scratch.create();
  await using tree = await Tree.open(await imageOf(scratch, [{ path: 'etc', flag: '5' }]));
  const owner = async (text: string) => {
    const found = await resolveUser(tree, text, 'owner');
    return 'unknown' in found ? found.unknown : [found.uid, found.gid];
  };
  assert.deepEqual(await owner('7'), [7, 7]);
  assert.deepEqual(await owner('7:8'), [7, 8]);
  assert.deepEqual(await owner('root:root'), [0, 0]);
  assert.deepEqual(await owner(':8'), [0, 8]);
  assert.equal(await owner('ann'), 'ann');
  assert.equal(await owner('7:ann'), 'ann');
});
