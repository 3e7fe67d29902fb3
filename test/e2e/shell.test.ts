import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { cliHome, type CliHome } from '../support/home.ts';
import { FakeRegistry } from '../support/servers/registry.ts';
import { addBusybox } from '../support/small-image.ts';

/* The shell and the hook of agents with a real engine and real guests. */

/** Environment of an engine whose runs get the best sandbox of the machine. */
const env = { CONTREE_DEFAULT_SANDBOX: 'auto' } as const;

let home: CliHome;

before(async () => {
  await using registry = await FakeRegistry.start();
  await addBusybox(registry, '1');
  home = await cliHome();
  await home.json(['import', '--tag', 'base', `docker://${registry.host}/team/app:1`], { env });
});

after(() => home[Symbol.asyncDispose]());

test('lines of a shell share variables and the directory, and their changes are undone and redone', async () => {
  const lines = [
    'mkdir -p /srv && cd /srv && NAME="a b" && export SEEN=1',
    'echo "$NAME $SEEN $PWD" | tee file',
    'cat <<END >> file',
    'two $NAME',
    'END',
    'rm file; ls',
    ':undo',
    'cat file; echo "still $NAME in $PWD"',
    ':diff',
    'false',
    'echo "$?"; nosuchprogram',
  ];
  const { code, stdout, stderr } = await home.run(['shell', 'base'], { input: `${lines.join('\n')}\n`, env });
  assert.equal(code, 127, stderr);
  assert.deepEqual(stdout.replaceAll(/[0-9a-f-]{36}/gu, 'UUID').split('\n'), [
    'a b 1 /srv',
    'image UUID',
    'a b 1 /srv',
    'two a b',
    'still a b in /srv',
    'M /srv/file  (11 → 19 bytes)',
    '1',
    '',
  ]);
});
