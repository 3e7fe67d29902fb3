import assert from 'node:assert/strict';
import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { after, before, test } from 'node:test';
import type { HttpContree } from '../../src/client/index.ts';
import { cliHome, ROOT, type CliHome } from '../support/home.ts';
import { FakeRegistry } from '../support/servers/registry.ts';
import { addBusybox } from '../support/small-image.ts';
import { until } from '../support/time/until.ts';

/* The command line at a real terminal (a pty), of which the other end is a real guest. */

/** Environment of an engine whose runs get the best sandbox of the machine. */
const env = { CONTREE_DEFAULT_SANDBOX: 'auto' } as const;
const ESCAPE = '\u001B';

let home: CliHome;
let contree: HttpContree;

before(async () => {
  await using registry = await FakeRegistry.start();
  await addBusybox(registry, '1');
  home = await cliHome();
  await home.json(['import', '--tag', 'base', `docker://${registry.host}/team/app:1`], { env });
  contree = await home.connect();
});

after(async () => {
  await contree[Symbol.asyncDispose]();
  await home.run(['engine', 'stop', '--force'], { env });
  await home[Symbol.asyncDispose]();
});

const [ROWS, COLUMNS] = [33, 90];

/** Command line of contree at a terminal. */
class Terminal implements AsyncDisposable {
  /** Everything that was shown so far. */
  screen = '';
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #ended: Promise<unknown[]>;

  constructor(...args: readonly string[]) {
    const helper = join(ROOT, 'test/support/python/terminal.py');
    const program = [process.execPath, join(ROOT, 'bin/contree'), '--data-dir', home.dataDir, ...args];
    // Whether the terminal is as it was is for the shell to see that follows.
    const line = ['sh', '-c', '"$@"; code=$?; stty -a; exit $code', 'sh', ...program];
    const settings = { ...process.env, ...env, CONTREE_CONFIG: '/dev/null' };
    this.#child = spawn('python3', [helper, String(ROWS), String(COLUMNS), ...line], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: settings,
    });
    this.#child.stdout.on('data', (chunk: Buffer) => (this.screen += chunk.toString('latin1')));
    this.#ended = once(this.#child, 'close');
  }

  /** Sends keys, and waits until the answer is shown after what was there before. */
  async type(keys: string, answer: RegExp | string): Promise<void> {
    const from = this.screen.length;
    this.#say(keys);
    await this.shows(answer, from);
  }

  /** Changes its size, as a window manager does. */
  resize(rows: number, columns: number): void {
    this.#say([rows, columns]);
  }

  /** Closes the window. */
  close(): void {
    this.#child.stdin.end();
  }

  /** Returns the exit code. */
  async ended(): Promise<unknown> {
    const [code] = await this.#ended;
    return code;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await this.#ended;
  }

  #say(message: string | readonly number[]): void {
    this.#child.stdin.write(`${JSON.stringify(message)}\n`);
  }

  async shows(answer: RegExp | string, from = 0): Promise<void> {
    await until(() => {
      const shown = this.screen.slice(from);
      return typeof answer === 'string' ? shown.includes(answer) : answer.test(shown);
    }).catch((cause: unknown) => assert.fail(new Error(`not shown: ${answer} in ${this.screen}`, { cause })));
  }
}

test('exec -it: size, Ctrl-C, editors and full-screen programs, the exit code, and the terminal as it was', async () => {
  const { uuid } = await contree.instances.open({ image: 'tag:base' });
  await using terminal = new Terminal('exec', '-it', uuid.slice(0, 8), 'sh');
  await terminal.shows('# ');
  // What is typed is shown too, so that answers differ from it.
  await terminal.type('stty size\r', /33 90\s/u);
  terminal.resize(40, 100);
  await terminal.type('until [ "$(stty size)" = "40 100" ]; do :; done; echo re""sized\r', 'resized');
  await terminal.type('echo wa""iting; sleep 1000\r', 'waiting');
  await terminal.type('\u0003', '# ');
  await terminal.type('echo "status $?"\r', 'status 130');
  await terminal.type('vi /root/notes\r', '- /root/notes');
  await terminal.type('ihello', 'hello');
  await terminal.type(ESCAPE, '- /root/notes');
  await terminal.type(':wq\r', '# ');
  await terminal.type('cat /root/notes; echo do""ne\r', /hello\s+done/u);
  await terminal.type('top\r', /Mem: .*PID/su);
  await terminal.type('q', '# ');
  await terminal.type('exit 7\r', 'exit');
  assert.equal(await terminal.ended(), 7);
  assert.match(terminal.screen, / icanon /u);
  await contree.instances.close(uuid, { keep: false });
});

/** Waits for a signal, and says which it got. */
const PATIENT = 'trap "echo hung up > /root/said; exit 3" HUP; echo ready; while :; do sleep 1; done';

test('a terminal that is closed hangs its command up, and the instance goes on', async () => {
  const { uuid } = await contree.instances.open({ image: 'tag:base' });
  await using terminal = new Terminal('exec', '-it', uuid, 'sh', '-c', PATIENT);
  await terminal.shows('ready');
  terminal.close();
  await terminal.ended();
  const codes = async (): Promise<readonly unknown[]> =>
    (await contree.instances.get(uuid)).processes.map(({ exit_code: code }) => code);
  await until(async () => (await codes())[0] === 3);
  const { stdout } = await home.run(['exec', uuid, 'cat', '/root/said'], { env });
  assert.equal(stdout, 'hung up\n');
  await contree.instances.close(uuid, { keep: false });
});

// Keys that are typed while a line runs are its own, so each line waits for the prompt.
test('shell: every line has the terminal, and what it changed is undone', async () => {
  await using terminal = new Terminal('shell', 'base');
  await terminal.shows('# ');
  await terminal.type('mkdir /srv && cd /srv\r', /\/srv# /u);
  await terminal.type('vi file\r', '- file');
  await terminal.type('itext', 'text');
  await terminal.type(ESCAPE, '- file');
  await terminal.type(':wq\r', /\/srv# /u);
  await terminal.type('stty size; tty\r', /33 90\s+\/dev\/pts\/\d+\s[^]*srv# /u);
  await terminal.type('echo wa""iting; sleep 1000\r', 'waiting');
  await terminal.type('\u0003', /\/srv# /u);
  await terminal.type('echo "status $?"; cat file\r', /status 130\s+text\s[^]*srv# /u);
  await terminal.type(':undo\r', /\/srv# /u);
  await terminal.type('cat file\r', /No such file[^]*srv# /u);
  await terminal.type('exit 4\r', 'exit');
  assert.equal(await terminal.ended(), 4);
  assert.match(terminal.screen, / icanon /u);
});
