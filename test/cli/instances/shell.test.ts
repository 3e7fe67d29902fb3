import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { STATE_FILE } from '../../../src/cli/shell/state-script.ts';
import { openCli, type CliBench } from '../../support/cli-bench.ts';
import { PROGRAMS, type Program } from '../../support/scripted/process.ts';
import { until } from '../../support/time/until.ts';

const PROGRAM = new URL('../../../bin/contree', import.meta.url).pathname;

/** A scripted guest; the state of its shell is what the last `cd` wrote. */
async function bench(): Promise<CliBench> {
  const cli = await openCli();
  const { contree } = cli;
  contree.addImage({ '/etc/hosts': 'x' }, 'base');
  let state = '';
  const cd: Program = ({ args }) => ((state = `#${args[0]}\n`), 0);
  const sh: Program = async ({ read }) => ((state = String((await read()) ?? '')), 0);
  const cat: Program = (context) =>
    context.args[0] === STATE_FILE ? (context.out(state), 0) : (PROGRAMS['cat']?.(context) ?? 127);
  Object.assign(contree.programs, { bash: () => 127, cd, ':': () => 0, sh, cat });
  return cli;
}

test('every line that changed something can be undone, and branched from', async () => {
  await using cli = await bench();
  const input = [
    'touch /a',
    'echo hi',
    ': not a command of the shell',
    'touch /b',
    ':undo',
    ':diff base',
    ':redo',
    ':diff',
    ':goto 1',
    ':branch kept',
    ':nonsense',
    ':undo',
    ':undo',
    ':log',
    'exit 7',
  ];
  const { code, stdout, stderr } = await cli.run(['shell', '--tag', 'end', 'base'], { input: input.join('\n') });
  assert.equal(code, 7, stderr);
  const ids = { base: await uuidOf(cli, 'base'), kept: await uuidOf(cli, 'kept'), end: await uuidOf(cli, 'end') };
  assert.equal(ids.end, ids.base, 'it ended where it went back to');
  const [, second = assert.fail()] = /image (\S+)\nA \/b/u.exec(stdout) ?? [];
  assert.deepEqual(stdout.split('\n').slice(0, 8), [
    'hi',
    `image ${ids.kept}`,
    'A /a',
    `image ${second}`,
    'A /b',
    `image ${ids.kept}`,
    `tag:kept is image ${ids.kept}`,
    `image ${ids.base}`,
  ]);
  assert.match(stdout, /there is nothing to undo\n/u);
  const rows = stdout.split('\n').filter((line) => /^[ *]\d/u.test(line));
  assert.deepEqual(
    rows.map((row) => row.replaceAll(/ +/gu, ' ').trim()),
    [`*0 ${ids.base} - base`, `1 ${ids.kept} 0 touch /a`, `2 ${second} 1 touch /b`],
  );
  assert.match(stderr, /:nonsense is no command of this shell; :help lists them/u);
  await until(async () => (await cli.contree.instances.list()).length === 0);
});

async function uuidOf(cli: CliBench, tag: string): Promise<string> {
  return (await cli.contree.images.get(`tag:${tag}`)).uuid;
}

test('-c executes one line, and piped lines are joined while a command is open', async () => {
  await using cli = await bench();
  assert.equal((await cli.run(['shell', 'base', '-c', 'exit 3'])).code, 3);
  const { stdout } = await cli.run(['shell', 'base'], { input: 'echo "a\nb"\necho c\n' });
  assert.equal(stdout, '"a\nb"\nc\n');
  const told = await cli.run(['shell', '--json', 'base', '-c', 'touch /x']);
  const { image, exit_code: code } = JSON.parse(told.stdout) as { image: string; exit_code: number };
  assert.equal(code, 0);
  assert.ok((await cli.contree.files.list(image, { path: '/' })).files.some(({ path }) => path.endsWith('x')));
});

test('the state of the shell is taken along, and an instance that ends is replaced', async () => {
  await using cli = await bench();
  const { contree } = cli;
  contree.programs['die'] = async () => {
    const [open = assert.fail()] = await contree.instances.list();
    await contree.instances.close(open.uuid);
    return 0;
  };
  const input = ['cd /srv', 'touch /a', 'die', 'touch /b', ':log'].join('\n');
  const { code, stdout, stderr } = await cli.run(['shell', 'base'], { input });
  assert.equal(code, 0, stderr);
  assert.match(stderr, /contree: the instance has ended; opened again from image \S+\n/u);
  assert.match(stdout, /touch \/a\n.*touch \/b\n$/su);
  const restored = contree.calls('processes', 'start').findLast(([, { command }]) => command === 'sh');
  assert.equal(Buffer.from(restored?.[1].stdin?.value ?? '', 'ascii').toString(), '#/srv\n');
});

test('at a terminal lines are typed at a prompt, and programs get the terminal and its keys', async () => {
  await using cli = await bench();
  const { contree } = cli;
  contree.programs['keys'] = (context) => {
    context.out('ready\r\n');
    return PROGRAMS['cat']?.(context) ?? 127;
  };
  const line = `stty cols 90 rows 33; ${process.execPath} ${PROGRAM} --data-dir ${cli.folder} shell base; stty -a`;
  const child = spawn('script', ['-qefc', line, '/dev/null'], { stdio: ['pipe', 'pipe', 'inherit'] });
  let screen = '';
  child.stdout.on('data', (chunk: Buffer) => (screen += chunk.toString()));
  const ended = new Promise((resolve) => child.once('exit', resolve));
  const prompted = (times: number) => until(() => screen.split('/# ').length > times);
  await prompted(1);
  // An open quote asks for more, and Ctrl-C gives the line up.
  child.stdin.write('echo "one\r');
  await until(() => screen.includes('\n> ') || screen.includes('> '));
  child.stdin.write('\u0003');
  await until(() => screen.includes('^C'));
  child.stdin.write('keys\r');
  await until(() => screen.includes('ready'));
  const [, spec] = contree.calls('processes', 'start').findLast(([, { command }]) => command === 'keys') ?? [];
  assert.deepEqual(spec?.tty, { columns: 90, rows: 33 });
  child.stdin.write('pressed\u0003');
  await until(() => screen.includes('pressed\u0003'));
  assert.deepEqual(contree.signalsSent, []);
  const [instance = assert.fail()] = await contree.instances.list();
  const { processes } = await contree.instances.get(instance.uuid);
  const before = screen.split('/# ').length;
  await contree.processes.kill(instance.uuid, processes.at(-1)?.spid ?? 0, { signal: 'HUP' });
  await prompted(before);
  child.stdin.write('touch /made\r');
  await prompted(before + 1);
  child.stdin.write('\u0004');
  await ended;
  assert.match(screen, / icanon /u, 'the terminal is as it was');
  assert.match(screen, /image \S+\r?\n/u);
});
