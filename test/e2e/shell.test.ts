import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, readlinkSync, realpathSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { cliHome, execute, type CliHome } from '../support/home.ts';
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

after(async () => {
  // The instance of the project is still open.
  await home.run(['engine', 'stop', '--force'], { env });
  await home[Symbol.asyncDispose]();
});

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

test('commands that an agent’s hook takes over run in a guest with the project’s files, and are applied on request', async () => {
  const project = join(realpathSync(home.dataDir), 'project');
  mkdirSync(join(project, 'src'), { recursive: true });
  writeFileSync(join(project, '.gitignore'), 'out/\n');
  writeFileSync(join(project, 'src', 'a.txt'), 'from the user\n');
  const options = { cwd: project, env: { ...env, HOME: home.dataDir, XDG_STATE_HOME: join(home.dataDir, 'state') } };
  const contree = async (args: readonly string[], input = ''): Promise<string> => {
    const { code, stdout, stderr } = await home.run(args, { ...options, input });
    assert.equal(code, 0, stderr);
    return stdout;
  };
  /** Does what Claude Code does with a call of its tool Bash. */
  const bash = async (command: string) => {
    const fields = { session_id: 's', cwd: project, hook_event_name: 'PreToolUse', tool_name: 'Bash' };
    const answer = await contree(['hook', 'answer'], JSON.stringify({ ...fields, tool_input: { command } }));
    const { updatedInput } = (JSON.parse(answer) as { hookSpecificOutput: { updatedInput: { command: string } } })
      .hookSpecificOutput;
    const settings = { CONTREE_CONFIG: '/dev/null', ...options.env };
    return await execute('sh', ['-c', updatedInput.command], { cwd: project, env: settings });
  };
  await contree(['install', 'claude-code', '--hook', 'base']);
  const first = await bash(
    "cat src/a.txt; echo it\\'s > src/b.txt; mkdir out; echo x > out/y; rm src/a.txt; ln -s b.txt src/c; exit 4",
  );
  assert.deepEqual([first.code, first.stdout], [4, 'from the user\n'], first.stderr);
  const second = await bash('pwd; ls src out');
  assert.equal(second.stdout, `${project}\nout:\ny\n\nsrc:\nb.txt\nc\n`);
  assert.equal(existsSync(join(project, 'src', 'b.txt')), false, 'nothing reaches the folder by itself');
  const applied = await contree(['apply', '--yes']);
  assert.match(applied, /^D src\/a\.txt\n(?:.*\n)*A src\/b\.txt\n(?:.*\n)*\+it's\nA src\/c -> b\.txt\n$/u);
  assert.equal(readFileSync(join(project, 'src', 'b.txt'), 'utf8'), "it's\n");
  assert.equal(readlinkSync(join(project, 'src', 'c')), 'b.txt');
  const outside = await bash('ln -sf /etc/passwd src/c; ln -s ../../x out-link');
  assert.equal(outside.code, 0, outside.stderr);
  const refused = await home.run(['apply', '--yes'], options);
  assert.deepEqual([refused.code, refused.stdout], [1, '']);
  assert.match(refused.stderr, /src\/c \(it is a symlink to \/etc\/passwd\)/u);
  assert.match(refused.stderr, /out-link \(it is a symlink to \.\.\/\.\.\/x\)/u);
  assert.deepEqual([existsSync(join(project, 'src', 'a.txt')), existsSync(join(project, 'out'))], [false, false]);
  await contree(['undo']);
  assert.equal((await bash('ls src')).stdout, 'a.txt\n');
  assert.match(await contree(['apply', '--yes']), /^A src\/a\.txt\n(?:.*\n)*D src\/b\.txt\n/u);
  assert.equal(readFileSync(join(project, 'src', 'a.txt'), 'utf8'), 'from the user\n');
});
