import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { withHooks } from '../../../src/cli/agents/hooks.ts';
import { collectChild, openCli, type CliBench, type Ran } from '../../support/cli-bench.ts';
import type { Program } from '../../support/scripted/process.ts';

interface HookBench extends CliBench {
  readonly project: string;
  readonly settings: string;
  /** Runs a command line in the project. */
  readonly inProject: (args: readonly string[], input?: string) => Promise<Ran>;
  /** Lets the hook answer a tool call as Claude Code makes it, and executes what it answers. */
  readonly bash: (command: string) => Promise<Ran & { readonly answer: Answer }>;
  readonly prompt: (text: string) => Promise<void>;
}

interface Answer {
  readonly hookSpecificOutput: {
    readonly permissionDecision: string;
    readonly updatedInput: Readonly<Record<string, unknown>>;
  };
}

/** Claude Code in a project whose commands are executed in a scripted guest. */
async function bench(): Promise<HookBench> {
  const cli = await openCli();
  const { contree, folder } = cli;
  contree.addImage({ '/etc/hosts': 'x' }, 'base');
  const project = join(realpathSync(folder), 'project');
  mkdirSync(join(project, 'src'), { recursive: true });
  writeFileSync(join(project, 'src', 'a.txt'), 'from the user\n');
  // The line of an agent is the last argument of the script that looks for bash.
  const sh: Program = (context) => {
    const [command = '', ...args] = (context.args.at(-1) ?? '').split(' ');
    return contree.programs[command]?.({ ...context, args }) ?? 127;
  };
  const edit: Program = ({ args: [path = '', text = ''], write }) => (write(path, text), 0);
  Object.assign(contree.programs, { sh, edit });
  const env = { XDG_STATE_HOME: join(folder, 'state'), PATH: process.env['PATH'] ?? '' };
  const inProject: HookBench['inProject'] = async (args, input = '') => {
    process.chdir(project);
    return await cli.run(args, { input, env });
  };
  const common = { session_id: 's1', transcript_path: '/t.jsonl', cwd: project, permission_mode: 'default' };
  const answered = async (event: string, fields: object): Promise<string> => {
    const input = JSON.stringify({ ...common, hook_event_name: event, ...fields });
    const { code, stdout, stderr } = await inProject(['hook', 'answer'], input);
    assert.equal(code, 0, stderr);
    return stdout;
  };
  return Object.assign(cli, {
    project,
    settings: join(folder, '.claude', 'settings.json'),
    inProject,
    prompt: async (text: string) => assert.equal(await answered('UserPromptSubmit', { prompt: text }), ''),
    bash: async (command: string) => {
      const tool_input = { command, description: 'what it does', timeout: 5_000 };
      const stdout = await answered('PreToolUse', { tool_name: 'Bash', tool_use_id: 't1', tool_input });
      const answer = JSON.parse(stdout) as Answer;
      const { command: line, ...rest } = answer.hookSpecificOutput.updatedInput;
      assert.deepEqual(rest, { description: 'what it does', timeout: 5_000 });
      const words = String(line).split(' ');
      const at = words.indexOf('hook');
      const ran = await inProject([...words.slice(at, words.indexOf('--') + 1), command]);
      return { ...ran, answer };
    },
  });
}

test('an agent’s commands run in an instance, turns are undone and redone, and nothing reaches the folder but by apply', async () => {
  await using cli = await bench();
  const { contree, project } = cli;
  const installed = await cli.inProject(['install', 'claude-code', '--hook', 'base']);
  assert.equal(installed.code, 0, installed.stderr);
  await cli.prompt('first');
  const first = await cli.bash('exit 3');
  assert.deepEqual([first.code, first.answer.hookSpecificOutput.permissionDecision], [3, 'allow']);
  assert.equal((await cli.bash(`edit ${project}/src/b.txt one`)).code, 0);
  await cli.prompt('second\u001b[31m');
  assert.equal((await cli.bash(`edit ${project}/src/b.txt second`)).code, 0);
  assert.equal(contree.calls('instances', 'open').length, 1, 'all in one instance');
  const [[request] = []] = contree.calls('instances', 'open');
  assert.equal(request?.directory_states?.length, 1, 'the folder was copied into it');
  assert.deepEqual(
    contree.calls('processes', 'start').map(([, { cwd }]) => cwd),
    [project, project, project],
  );
  const listed = await cli.inProject(['undo', '--list']);
  assert.match(listed.stdout, /done .* first\ndone .* second\\x1b\[31m\n/u);
  const file = join(project, 'src', 'b.txt');
  const applied = async (): Promise<string> => {
    const { code, stdout, stderr } = await cli.inProject(['apply', '--yes']);
    assert.equal(code, 0, stderr);
    return stdout;
  };
  assert.equal((await cli.inProject(['undo'])).code, 0);
  const dry = await cli.inProject(['apply', '--dry-run']);
  assert.match(dry.stdout, /^A src\/b\.txt\n(?:.*\n)*\+one\n/u);
  assert.equal(existsSync(file), false);
  assert.equal((await cli.inProject(['apply'])).code, 2, 'without a terminal nobody can agree');
  assert.match(await applied(), /A src\/b\.txt/u);
  assert.equal(readFileSync(file, 'utf8'), 'one');
  assert.equal((await cli.inProject(['redo'])).code, 0);
  assert.equal(readFileSync(file, 'utf8'), 'one', 'the folder stays as it is');
  assert.match(await applied(), /M src\/b\.txt\n(?:.*\n)*-one\n(?:.*\n)*\+second\n/u);
  assert.equal(readFileSync(file, 'utf8'), 'second');
  assert.equal(await applied(), '', 'there is nothing left');
  assert.match((await cli.inProject(['redo'])).stdout, /no such turn/u);
  // What was applied is taken back in the folder too when that is applied.
  for (const _turn of ['second', 'first']) assert.equal((await cli.inProject(['undo'])).code, 0);
  assert.match(await applied(), /D src\/b\.txt/u);
  assert.deepEqual([existsSync(file), existsSync(join(project, 'src', 'a.txt'))], [false, true]);
});

test('what the user changes meanwhile comes into the instance, and is not overwritten', async () => {
  await using cli = await bench();
  const { contree, project } = cli;
  await cli.inProject(['install', 'claude-code', '--hook', 'base']);
  const file = join(project, 'src', 'a.txt');
  await cli.bash(`edit ${file} agent`);
  writeFileSync(file, 'the user again\n');
  const refused = await cli.inProject(['apply', '--yes']);
  assert.deepEqual([refused.code, refused.stdout], [1, '']);
  assert.match(refused.stderr, /not applied: src\/a\.txt \(you have changed it meanwhile\)/u);
  assert.equal(readFileSync(file, 'utf8'), 'the user again\n');
  await cli.bash('true');
  const states = contree.calls('instances', 'open').map(([{ directory_states: given }]) => given?.length);
  assert.deepEqual(states, [1, 1], 'another instance with what is newer');
  const offers = contree.calls('uploads', 'offerDirectory').map(([{ entries }]) => entries.map(({ path }) => path));
  assert.deepEqual(offers.at(-1), [file], 'only that');
  rmSync(file);
  await cli.bash('true');
  const [gone] = contree.calls('uploads', 'offerDirectory').at(-1) ?? [];
  assert.deepEqual(gone?.entries, [{ path: file, mode: 0, removed: true }]);
});

test('a command that runs while the folder changes keeps its instance until it has ended', async () => {
  await using cli = await bench();
  const { contree, project } = cli;
  await cli.inProject(['install', 'claude-code', '--hook', 'base']);
  const [started, release] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  contree.programs['slow'] = async ({ args: [path = ''], write }) => {
    started.resolve();
    await release.promise;
    write(path, 'late');
    return 0;
  };
  const env = { XDG_STATE_HOME: join(cli.folder, 'state') };
  const ended = collectChild(cli.start(['hook', 'run', '--cwd', project, '--', `slow ${project}/x`], env));
  await started.promise;
  writeFileSync(join(project, 'src', 'a.txt'), 'changed meanwhile\n');
  assert.equal((await cli.bash('true')).code, 0);
  assert.equal((await contree.instances.list()).length, 2);
  release.resolve();
  const { code, stderr } = await ended;
  assert.equal(code, 0, stderr);
  assert.match(stderr, /what this command changed is in image \S+, not in the current one/u);
  assert.equal((await contree.instances.list()).length, 1);
});

test('a hook leaves alone what is not its own, and refuses what it cannot take over', async () => {
  await using cli = await bench();
  const { project } = cli;
  const input = {
    session_id: 's',
    cwd: project,
    hook_event_name: 'PreToolUse',
    tool_name: 'Bash',
    tool_input: { command: 'ls' },
  };
  const answer = async (fields: object) => cli.inProject(['hook', 'answer'], JSON.stringify({ ...input, ...fields }));
  assert.equal((await answer({})).stdout, '', 'no project');
  await cli.inProject(['install', 'claude-code', '--hook', 'base']);
  assert.equal((await answer({ tool_name: 'Edit' })).stdout, '');
  assert.equal((await answer({ cwd: cli.folder })).stdout, '');
  assert.match((await answer({ turn_id: 'codex-turn', cwd: join(project, 'src') })).stdout, /updatedInput/u);
  // Exit code 2 blocks the call.
  assert.equal((await cli.inProject(['hook', 'answer'], 'not JSON')).code, 2);
});

test('Codex, which has a sandbox of its own, gets a rule for what the hook starts, as long as it has the hook', async () => {
  await using cli = await bench();
  const home = join(cli.folder, '.codex');
  assert.equal((await cli.inProject(['install', 'codex', '--hook', 'base'])).code, 0);
  const rule = readFileSync(join(home, 'rules', 'contree.rules'), 'utf8');
  const pattern = JSON.parse(/pattern = (\[.*\]), decision = "allow"/u.exec(rule)?.[1] ?? '[]') as string[];
  assert.deepEqual(pattern.slice(-2), ['hook', 'run']);
  // Codex applies a rule to words that are quoted in any way, and to no line with a backslash.
  const input = {
    hook_event_name: 'PreToolUse',
    tool_name: 'Bash',
    cwd: cli.project,
    tool_input: { command: "echo it's" },
  };
  const { stdout } = await cli.inProject(['hook', 'answer'], JSON.stringify(input));
  const line = (JSON.parse(stdout) as Answer).hookSpecificOutput.updatedInput['command'];
  assert.equal(line, `${pattern.join(' ')} --cwd ${cli.project} -- 'echo it'"'"'s'`);
  assert.equal((await cli.inProject(['install', 'codex', '--hook', '-u'])).code, 0);
  assert.deepEqual(
    [existsSync(join(home, 'rules', 'contree.rules')), existsSync(join(home, 'hooks.json'))],
    [false, true],
  );
});

test('the hook is added to what is there, once, and taken out again', () => {
  const others = { PreToolUse: [{ matcher: 'Edit', hooks: [{ type: 'command', command: 'lint' }] }], Stop: [] };
  const before = `{\n  // mine\n  "model": "opus",\n  "hooks": ${JSON.stringify(others)}\n}\n`;
  const after = withHooks(before, '/bin/contree hook answer');
  assert.match(after, /\/\/ mine/u);
  assert.equal(withHooks(after, '/bin/contree hook answer'), after);
  assert.equal(after.split('hook answer').length, 3, 'for two events');
  const moved = withHooks(after, '/other/contree hook answer');
  assert.equal(moved.includes('/bin/contree'), false);
  assert.deepEqual(
    (JSON.parse(withHooks(moved, undefined).replace('// mine', '')) as { hooks: unknown }).hooks,
    others,
  );
  assert.equal(withHooks('', undefined), '');
  assert.throws(() => withHooks('{"hooks": {"PreToolUse": {}}}', 'x'), /is not a list/u);
});
