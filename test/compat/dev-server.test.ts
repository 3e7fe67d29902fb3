import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import type { Browser } from 'playwright-core';
import { command } from '../../scripts/support/command.ts';
import { debianImage } from '../../scripts/support/debian-image.ts';
import type { HttpContree } from '../../src/client/index.ts';
import { streamBytes } from '../../src/contract/stream.ts';
import { executed, opened } from '../conformance/instances.ts';
import { openBrowser } from '../console/browser.ts';
import { hasRunsc } from '../support/gvisor.ts';
import { cliHome, ROOT, type CliHome } from '../support/home.ts';
import { until } from '../support/time/until.ts';

/*
 * Real servers in an instance of `contree serve`, as users start them and without settings of their own: Vite, whose pages
 * are updated over a WebSocket, and Python's, with a large file. Used through the origin of their port by Chromium and curl.
 */

const VITE = 'vite@8.4.0';
const [VITE_PORT, FILE_PORT] = [5_173, 8_000];
const FILE_BYTES = 1024 ** 3;
/** Folder of the sources in the image. */
const APP = '/srv/app';

/** Writes the large file, of which no two pieces are equal, and prints its SHA-256. */
const MAKE_FILE = `import os, hashlib
digest, random = hashlib.sha256(), os.urandom(1 << 20)
with open("/srv/large.bin", "wb") as file:
  for piece in range(${FILE_BYTES} >> 20):
    content = piece.to_bytes(8, "big") + random[8:]
    digest.update(content)
    file.write(content)
print(digest.hexdigest())`;

const SOURCES = {
  'package.json': JSON.stringify({ private: true, type: 'module' }),
  'index.html':
    '<!doctype html><title>app</title><link rel="icon" href="data:,"><p id="shown"></p><script type="module" src="/main.js"></script>',
  'main.js': `import './style.css';
import { message } from './message.js';
const show = (text) => (document.querySelector('#shown').textContent = text);
show(message);
import.meta.hot.accept('./message.js', (changed) => show(changed.message));
`,
  'message.js': `export const message = 'one';\n`,
  'style.css': '#shown { color: rgb(1, 2, 3); font: 40px sans-serif; }\n',
};

let folder: string;
let home: CliHome;
let address: string;
let token: string;
let contree: HttpContree;
let browser: Browser;
const cleanup = new AsyncDisposableStack();

/** Starts the server and returns its address. */
async function serve(): Promise<string> {
  const env = {
    ...process.env,
    CONTREE_DATA_DIR: home.dataDir,
    CONTREE_CONFIG: '/dev/null',
    CONTREE_DEFAULT_SANDBOX: 'gvisor',
  };
  const server = spawn(process.execPath, [join(ROOT, 'bin/contree'), 'serve', '--http-port', '0'], {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  cleanup.defer(async () => {
    const ended = once(server, 'exit');
    if (server.kill('SIGTERM')) await ended;
  });
  for await (const line of createInterface({ input: server.stdout })) {
    const [, found] = /^listening on (https?:.*)$/u.exec(line) ?? [];
    if (found !== undefined) return found;
  }
  throw new Error('the server ended');
}

/** Returns a Debian image with our Node, Vite from the registry, and the sources. */
async function archive(): Promise<string> {
  const [root, app, bin] = [join(folder, 'root.tar'), join(folder, APP), join(folder, 'usr/local/bin')];
  await mkdir(app, { recursive: true });
  await mkdir(bin, { recursive: true });
  for (const [name, text] of Object.entries(SOURCES)) await writeFile(join(app, name), text);
  await command('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', VITE], { cwd: app });
  await copyFile(process.execPath, join(bin, 'node'));
  await copyFile((await debianImage()).tar, root);
  await command('tar', ['-r', '-f', root, '--owner=0', '--group=0', '-C', folder, './srv', './usr/local/bin/node']);
  return root;
}

/** Returns the address of a port's pages, of which `link` signs a browser in. */
async function pageOf(uuid: string, port: number): Promise<{ readonly url: string; readonly link: string }> {
  const headers = { Authorization: `Bearer ${token.trim()}` };
  const answer = await fetch(`${address}/v1/instances/${uuid}/ports/${port}/link`, { method: 'POST', headers });
  const { url: link } = (await answer.json()) as { url: string };
  return { url: new URL('/', link).href, link };
}

/** Returns the SHA-256 of what curl fetches. */
async function fetched(url: string, header: string): Promise<string> {
  const child = spawn('curl', ['-sSf', '-H', header, url], { stdio: ['ignore', 'pipe', 'inherit'] });
  const digest = createHash('sha256');
  for await (const chunk of child.stdout) digest.update(chunk as Buffer);
  return digest.digest('hex');
}

// Where there is one: emulated, these servers are too slow to be of use.
if (await hasRunsc()) {
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'contree-dev-server-'));
    cleanup.defer(() => rm(folder, { recursive: true, force: true }));
    home = cleanup.use(await cliHome());
    address = await serve();
    ({ stdout: token } = await home.run(['token', 'create']));
    contree = cleanup.use(await home.connect());
    browser = await openBrowser();
    cleanup.defer(() => browser.close());
    const { code, stderr } = await home.run(['import', await archive(), '--tag', 'app']);
    assert.equal(code, 0, stderr);
  });

  after(() => cleanup.disposeAsync());

  test('Vite updates a page in Chromium over its WebSocket, through the origin of its port, without a reload', async () => {
    const uuid = await opened(contree, { image: 'tag:app', publish: [{ port: VITE_PORT }] });
    const args = ['node_modules/vite/bin/vite.js', '--clearScreen', 'false'];
    const { spid } = await contree.processes.start(uuid, { command: 'node', args, cwd: APP });
    // Its output may have characters beyond ASCII.
    const ready = async (): Promise<boolean> => {
      const { stdout } = await contree.processes.get(uuid, spid);
      return stdout !== undefined && streamBytes(stdout).toString().includes('ready in');
    };
    await until(ready);
    const { link, url } = await pageOf(uuid, VITE_PORT);
    const page = await (await browser.newContext()).newPage();
    const [problems, frames, loads]: [string[], string[], string[]] = [[], [], []];
    page.on('console', (message) => ['error', 'warning'].includes(message.type()) && problems.push(message.text()));
    page.on('pageerror', (error) => problems.push(String(error)));
    page.on('load', () => loads.push(page.url()));
    page.on('websocket', (socket) => {
      problems.push(...(new URL(socket.url()).host === new URL(url).host ? [] : [socket.url()]));
      socket.on('framereceived', ({ payload }) => frames.push(String(payload)));
    });
    await page.goto(link);
    const shown = page.locator('#shown');
    await shown.filter({ hasText: 'one' }).waitFor();
    await until(() => frames.some((frame) => frame.includes('"connected"')));
    await page.evaluate('globalThis.mark = 1');

    const write = `echo "export const message = 'two';" > message.js; sed -i s/1,.2,.3/200,10,10/ style.css`;
    assert.equal((await executed(contree, uuid, { command: write, shell: true, cwd: APP })).state?.exit_code, 0);
    await shown.filter({ hasText: 'two' }).waitFor();
    await until(async () => (await page.evaluate(`getComputedStyle(shown).color`)) === 'rgb(200, 10, 10)');
    assert.ok(
      frames.some((frame) => frame.includes('"js-update"')),
      frames.join('\n'),
    );
    assert.ok(frames.some((frame) => frame.includes('"css-update"')) || frames.join().includes('style.css'));
    assert.equal(await page.evaluate('globalThis.mark'), 1, 'the page was not loaded again');
    assert.deepEqual([problems, loads], [[], [url]]);
    await page.context().close();
    await contree.instances.close(uuid, { keep: false });
  });

  test('1 GiB of Python’s web server arrives whole in curl and Chromium, through the origin and the port of the host', async () => {
    const uuid = await opened(contree, { image: 'tag:app', publish: [{ port: FILE_PORT }], disposable: true });
    const made = await executed(contree, uuid, { command: 'python3', args: ['-c', MAKE_FILE] });
    assert.equal(made.state?.exit_code, 0, made.stderr?.value);
    const sum = made.stdout?.value.trim();
    const serving = ['-m', 'http.server', '--bind', '127.0.0.1', String(FILE_PORT)];
    await contree.processes.start(uuid, { command: 'python3', args: serving, cwd: '/srv' });
    const { link, url } = await pageOf(uuid, FILE_PORT);
    const bearer = `Authorization: Bearer ${token.trim()}`;
    await until(() =>
      command('curl', ['-sf', '-H', bearer, url]).then(
        () => true,
        () => false,
      ),
    );
    const [{ host_port: port } = { host_port: 0 }] = (await contree.instances.get(uuid)).ports;
    for (const from of [url, `http://127.0.0.1:${port}/`]) {
      assert.equal(await fetched(`${from}large.bin`, bearer), sum, from);
    }
    const page = await (await browser.newContext({ acceptDownloads: true })).newPage();
    await page.goto(link);
    const downloading = page.waitForEvent('download', { timeout: 120_000 });
    await page.getByRole('link', { name: 'large.bin' }).click();
    const download = await downloading;
    const digest = createHash('sha256');
    for await (const chunk of await download.createReadStream()) digest.update(chunk as Buffer);
    assert.equal(digest.digest('hex'), sum, 'Chromium');
    await page.context().close();
    await contree.instances.close(uuid);
  });
}
