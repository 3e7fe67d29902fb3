import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connectMcp } from '../support/mcp/client.ts';
import { ScriptedContree } from '../support/scripted/contree.ts';

/** Ends of shell lines as dash and BusyBox report them: command, exit code, standard error, and what the hint must say. */
const ENDS: readonly (readonly [string, number, string, RegExp | undefined])[] = [
  ['source', 127, '/bin/sh: 1: source: not found\n', /^The shell is \/bin\/sh: "source" is "\."/u],
  ['[[', 127, 'sh: 1: [[: not found\n', /"\[ … \]" in sh; env=\{"SHELL": "\/bin\/bash"\} runs bash/u],
  ['shopt', 127, '/bin/sh: 1: shopt: not found\n', /one of bash/u],
  ['subst', 2, '/bin/sh: 1: Bad substitution\n', /syntax is one of bash/u],
  ['array', 2, '/bin/sh: 1: Syntax error: "(" unexpected\n', /syntax is one of bash/u],
  ['herestring', 2, '/bin/sh: 1: Syntax error: redirection unexpected\n', /syntax is one of bash/u],
  ['cargo', 127, '/bin/sh: 1: cargo: not found\n', /^Exit code 127: the image has no "cargo"; install it/u],
  ['bashed', 127, 'bash: line 1: rg: command not found\n', /no "rg"; install it/u],
  ['silent', 127, '', /the image has no such command; install it/u],
  ['script', 126, '/bin/sh: 1: /opt/x.sh: Permission denied\n', /^Exit code 126: .*"mode": "0755"/u],
  ['foreign', 126, '/bin/sh: 1: /opt/x: Exec format error\n', /another architecture/u],
  ['failing', 1, 'AssertionError: 1 != 2\n', undefined],
  ['fine', 0, 'source: not found\n', undefined],
];

test('the hint of a failed command says what to write instead', async () => {
  const programs = ENDS.map(([name, code, text]) => [
    name,
    ({ err }: { err: (text: string) => void }) => (err(text), code),
  ]);
  const contree = new ScriptedContree(Object.fromEntries(programs));
  const image = contree.addImage();
  await using mcp = await connectMcp(contree);
  for (const [command, , , hint] of ENDS) {
    const { structured } = await mcp.call('run', { command, image });
    if (hint === undefined) assert.equal(structured.hint, undefined, command);
    else assert.match(structured.hint, hint, command);
  }
  const { structured } = await mcp.call('run', { command: 'source', shell: false, image });
  assert.match(structured.hint, /no "source"/u, 'a program that no shell looked for');
});

test('a run that its timeout stopped warns of the image it saved and reports no use of what was killed', async () => {
  const contree = new ScriptedContree({ install: ({ write }) => (write('/half', 'x'), 0) });
  const image = contree.addImage();
  const { get } = contree.operations;
  contree.operations.get = async (...args) => {
    const operation = await get(...args);
    if (!('result' in operation.metadata)) return operation;
    const { result } = operation.metadata;
    const state = { ...result.state!, exit_code: -1, signal: 9, timed_out: true };
    const resources = { ...result.resources!, user_cpu_time: 0.09, system_cpu_time: 0, max_rss: 1_660, cost: 0.09 };
    return { ...operation, metadata: { ...operation.metadata, result: { ...result, state, resources } } };
  };
  await using mcp = await connectMcp(contree);
  for (const disposable of [true, false]) {
    const { structured } = await mcp.call('run', { command: 'install', image, disposable });
    assert.match(structured.hint, /stopped by its timeout/u);
    assert.equal(/do not tag it/u.test(structured.hint), !disposable);
    const shown = (await mcp.call('get_operation', { operation_id: structured.operation_id })).structured;
    assert.deepEqual(
      [shown.timed_out, shown.cpu_s, shown.max_rss, shown.cost],
      [true, undefined, undefined, undefined],
    );
  }
});

test('binary output says how to get at it', async () => {
  const contree = new ScriptedContree();
  const image = contree.addImage();
  await using mcp = await connectMcp(contree);
  const ran = (await mcp.call('run', { command: 'bytes', image })).structured;
  assert.match(ran.stdout, /^\[256 bytes of binary output; write it to a file .* download that file\]$/u);
  const page = { operation_id: ran.operation_id, stream: 'stdout', offset: 100 };
  assert.match((await mcp.call('get_operation', page)).structured.content, /^\[156 bytes of binary output; write it/u);
});

test('a working directory that is not in the image is told, unless files of the run may bring it', async () => {
  const contree = new ScriptedContree();
  const image = contree.addImage({ '/work/f': '' });
  await using mcp = await connectMcp(contree);
  const hint = async (args: object): Promise<string | undefined> =>
    (await mcp.call('run', { image, command: 'true', ...args })).structured.hint;
  assert.equal(await hint({ cwd: '/wrok' }), 'cwd "/wrok" is not in the image: it was made, empty.');
  assert.equal(await hint({ cwd: '/work' }), undefined);
  assert.equal(await hint({ cwd: '/tmp/x' }), undefined);
  assert.equal(await hint({ cwd: '/new', files: { '/new/f': 'uuid' } }), undefined);
  assert.match((await hint({ cwd: '/wrok', command: 'nope' })) ?? '', /^Exit code 127/u, 'what failed comes first');
});
