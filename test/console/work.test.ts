import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import type { Browser, Page } from 'playwright-core';
import { limits } from '../../src/contract/limits.ts';
import type { OperationSummary } from '../../src/contract/operation.ts';
import { finished, run, script } from '../engine/bench.ts';
import { chooseTools } from '../../src/tools/index.ts';
import { ANYONE } from '../../src/http/auth.ts';
import { addFamily, addHardImage, MANY_FILES, openConsole } from './bench.ts';
import { openBrowser, openPage } from './browser.ts';

let browser: Browser;
before(async () => {
  browser = await openBrowser();
});
after(() => browser.close());

/** Waits until it is visible. */
const seen = (page: Page, text: string | RegExp): Promise<void> => page.getByText(text).first().waitFor();

/** Clicks a download and returns its content. */
async function downloaded(page: Page, button: string): Promise<{ readonly name: string; readonly bytes: Buffer }> {
  const [download] = await Promise.all([
    page.waitForEvent('download'),
    page.getByRole('button', { name: button, exact: true }).click(),
  ]);
  return { name: download.suggestedFilename(), bytes: await readFile(await download.path()) };
}

test('a tool is called from its page: form, progress, result, request, errors', async () => {
  await using bench = await openConsole();
  const { base, engine } = bench.engine;
  await engine.tags.set(base.uuid, { tag: 'common/base' });
  await using watched = await openPage(browser, `${bench.address}/#/tools`);
  const { page, requests } = watched;
  const index = page.getByRole('navigation', { name: 'Tool reference' });
  await index.getByRole('link', { name: 'run Starts a sandbox' }).click();
  await page.getByRole('heading', { name: 'Run a command' }).waitFor();
  await seen(page, 'starts a sandbox');
  await page.getByRole('row', { name: /^timeout integer seconds default 300/u }).waitFor();
  await page.getByLabel('command').fill('echo hello from the page');
  await page.getByText(/^Optional arguments/u).click();
  await page.getByLabel('image').fill('tag:common/base');
  await page.getByLabel('disposable').selectOption('false');
  await page.getByLabel('env').fill('A=1\nB=2');
  await page.getByLabel('command').press('Control+Enter');
  await page.getByRole('group', { name: 'Structured content' }).getByText('hello from the page').waitFor();
  const [operation] = await engine.operations.list({});
  const metadata = (await engine.operations.get(operation!.uuid)).metadata as { env?: object; disposable?: boolean };
  assert.deepEqual([metadata.env, metadata.disposable], [{ A: '1', B: '2' }, false]);
  const call = requests.find(
    (request) => request.headers()['mcp-method'] === 'tools/call' && request.headers()['mcp-name'] === 'run',
  );
  assert.equal(call?.headers()['mcp-protocol-version'], '2026-07-28');
  await page.getByRole('group', { name: 'Structured content' }).getByRole('link', { name: operation!.uuid }).click();
  await page.getByRole('heading', { name: 'echo hello from the page' }).waitFor();
  await watched.visit('tools/get_image');
  await page.getByRole('button', { name: 'Edit as JSON' }).click();
  await page.getByLabel('Arguments as JSON').fill('{"image": "tag:nope"}');
  await page.getByRole('button', { name: 'Call get_image' }).click();
  await page
    .getByRole('group', { name: 'Text of the result' })
    .getByText(/^IMAGE_NOT_FOUND/u)
    .waitFor();
  await page.getByText('error', { exact: true }).waitFor();
});

test('the reference shows set-up, instructions, prompts, guides and resources', async () => {
  await using bench = await openConsole();
  await using watched = await openPage(browser, `${bench.address}/#/tools/setup`);
  const { page } = watched;
  await seen(page, `claude mcp add --transport http contree ${bench.address}/mcp`);
  const index = page.getByRole('navigation', { name: 'Tool reference' });
  const offered = chooseTools({ localFiles: false }).map(({ name }) => name);
  const links = await page.evaluate<string[]>(
    `[...document.querySelectorAll('.reference-index a')].map((link) => link.getAttribute('href'))`,
  );
  assert.deepEqual(
    offered.filter((name) => !links.includes(`#/tools/${name}`)),
    [],
    'every tool has its page',
  );
  await index.getByRole('link', { name: 'Server instructions' }).click();
  await seen(page, /ConTree runs commands as root/u);
  await index.getByRole('link', { name: 'run-shell' }).click();
  await page.getByLabel('command').fill('uname -a');
  await page.getByRole('button', { name: 'Get messages' }).click();
  await page
    .getByRole('group', { name: 'Message' })
    .getByText(/uname -a/u)
    .waitFor();
  await index.getByRole('link', { name: 'Workflow: check, prepare, execute' }).click();
  await page.getByRole('heading', { name: '1. CHECK for a prepared environment' }).waitFor();
  await index.getByRole('link', { name: 'Resource templates' }).click();
  await page.getByRole('textbox', { name: 'URI' }).fill(`contree://image/${bench.engine.base.uuid}/read/etc/passwd`);
  await page.getByRole('button', { name: 'Read' }).click();
  await page
    .getByRole('group', { name: 'Content' })
    .getByText(/root:x:0:0/u)
    .waitFor();
});

test('files are browsed, read in parts, in hexadecimal, and saved', async () => {
  await using bench = await openConsole();
  const { uuid } = await addHardImage(bench.engine);
  await using watched = await openPage(browser, `${bench.address}/#/images/${uuid}`);
  const { page } = watched;
  await page.getByRole('link', { name: 'many' }).click();
  await seen(page, `${MANY_FILES.toLocaleString('en')} entries`);
  assert.ok((await page.getByRole('row').count()) < 120, 'only what is seen is in the page');
  await page.evaluate(`document.querySelector('[role=table]').scrollTop = 1e9`);
  await page.getByRole('link', { name: 'file-09999' }).waitFor();
  await page.getByLabel('Filter names').fill('00042');
  await seen(page, '1 of 10,000 entries');
  const tar = await downloaded(page, 'Download as tar');
  assert.match(tar.name, /many\.tar$/u);
  assert.equal(tar.bytes.toString('utf8', 257, 262), 'ustar');
  await page.getByRole('navigation', { name: 'Path' }).getByRole('link', { name: '/', exact: true }).click();
  await page.getByRole('link', { name: 'link' }).waitFor();
  await page.getByRole('row', { name: /^link/u }).getByRole('link', { name: 'large.txt' }).click();
  await seen(page, 'Bytes 0 to 65,536 of 230,000 (225 KiB)');
  await page.getByRole('link', { name: 'Last' }).click();
  await seen(page, 'Bytes 196,608 to 230,000 of 230,000');
  await page.getByLabel('From byte').fill('46');
  await page.getByRole('button', { name: 'Go' }).click();
  await seen(page, 'Bytes 46 to 65,582');
  assert.equal((await downloaded(page, 'Download')).bytes.byteLength, 230_000);
  await watched.visit(`images/${uuid}/files?path=/program`);
  await seen(page, '00000000  7f 45 4c 46 00 01 02 03  ff fe');
  watched.expectErrors(/404/u);
  await watched.visit(`images/${uuid}/files?path=/gone`);
  await page.getByRole('alert').getByText('FILE_NOT_FOUND').waitFor();
});

test('a search leads to the line that it found', async () => {
  await using bench = await openConsole();
  const { uuid } = bench.engine.base;
  await using watched = await openPage(browser, `${bench.address}/#/images/${uuid}/search`);
  const { page } = watched;
  await page.getByLabel('Regular expression').fill('R[o]{2}t');
  await page.getByLabel('Case').selectOption('insensitive');
  await page.getByRole('button', { name: 'Search' }).click();
  await seen(page, '1 match in 1 file.');
  assert.deepEqual(await page.locator('mark').allInnerTexts(), ['root', 'root', 'root']);
  await page.getByRole('link', { name: 'Line 1' }).click();
  await page
    .getByRole('group', { name: 'Content of /etc/passwd' })
    .getByText(/root:x:0:0/u)
    .waitFor();
  watched.expectErrors(/400/u);
  await watched.visit(`images/${uuid}/search?pattern=(`);
  await page.getByRole('alert').getByText('PATTERN_INVALID').waitFor();
});

test('two images of the tree are compared by lines', async () => {
  await using bench = await openConsole();
  await addFamily(bench.engine);
  await using watched = await openPage(browser, `${bench.address}/#/images`);
  const { page } = watched;
  const tree = page.getByRole('tree');
  await tree.waitFor();
  assert.deepEqual(
    await page.evaluate(
      `[...document.querySelectorAll('[role=treeitem]')].map((row) => row.getAttribute('aria-level'))`,
    ),
    ['1', '2', '3', '3'],
  );
  await tree
    .getByRole('treeitem', { name: /python:3.11-slim/u })
    .locator('.tick')
    .click();
  await tree.getByRole('treeitem', { name: /fix_a/u }).locator('.tick').click();
  await page.getByRole('button', { name: 'Compare' }).click();
  await seen(page, '1 added');
  await page.getByText('/root/notes.txt').click();
  const patch = page.getByRole('group', { name: 'Line-by-line difference' });
  await patch.waitFor();
  assert.deepEqual(await patch.locator('.patch-removed, .patch-added').allInnerTexts(), [
    '1\t\t-first line',
    '\t1\t+fix_a',
  ]);
  await page.getByLabel('Kind of change').selectOption('added');
  assert.deepEqual(await page.locator('.change-head code').allInnerTexts(), ['/root/fix_a']);
});

test('the tree of images is live: a new one appears, tags are set, moved and removed, an image is deleted', async () => {
  await using bench = await openConsole();
  const { engine } = bench.engine;
  const { tagged, branches } = await addFamily(bench.engine);
  await using watched = await openPage(browser, `${bench.address}/#/images`);
  const { page } = watched;
  await page.getByRole('treeitem').first().waitFor();
  const made = await run(engine, script(bench.engine, 'echo x > /root/late', { image: branches[0]! }));
  const item = page.getByRole('treeitem', { name: /echo x > \/root\/late/u });
  await item.getByRole('link').click();
  await page.getByRole('button', { name: 'Add a tag' }).click();
  await page.getByRole('dialog').getByLabel('Tag').fill('common/python-ml/python:3.11-slim');
  await page.getByRole('button', { name: 'Set tag' }).click();
  await page.getByRole('button', { name: 'Move', exact: true }).click();
  await page.getByRole('heading', { name: 'common/python-ml/python:3.11-slim' }).waitFor();
  assert.deepEqual((await engine.images.get(tagged)).tags, []);
  await page.getByRole('button', { name: 'Remove the tag common/python-ml/python:3.11-slim' }).click();
  await page.getByRole('button', { name: 'Remove', exact: true }).click();
  await page.getByRole('heading', { name: `Image ${made.result_image_uuid!.slice(0, 8)}` }).waitFor();
  await page.getByRole('button', { name: 'Delete…' }).click();
  await page.getByRole('button', { name: 'Cancel' }).click();
  await engine.images.get(made.result_image_uuid!);
  await watched.visit(`images/${branches[0]}/lineage`);
  await page.getByRole('heading', { name: `Image ${branches[0]!.slice(0, 8)}` }).waitFor();
  await page.getByRole('button', { name: 'Delete…' }).click();
  await seen(page, /everything made from it \(1 child/u);
  await page.getByRole('button', { name: 'Delete', exact: true }).click();
  await seen(page, '2 images deleted.');
  await assert.rejects(engine.images.get(made.result_image_uuid!), { code: 'IMAGE_NOT_FOUND' });
});

/** Breaks the page's first event stream after this many chunks, as a network would. */
const BREAK_STREAM = `{
  const whole = globalThis.fetch;
  let broken = false;
  globalThis.fetch = async (input, init) => {
    const response = await whole(input, init);
    if (broken || !String(input).includes('/events')) return response;
    broken = true;
    const reader = response.body.getReader();
    let left = 1;
    const body = new ReadableStream({
      async pull(controller) {
        const { value } = await reader.read();
        controller.enqueue(value);
        if (--left === 0) { controller.error(new TypeError('network error')); reader.cancel(); }
      },
    });
    return new Response(body, { status: response.status, headers: response.headers });
  };
}`;

test('output streams as it comes, goes on after a broken connection, and is not shown twice', async () => {
  await using bench = await openConsole();
  const { engine } = bench.engine;
  const { uuid } = await engine.runs.start(
    script(bench.engine, 'echo ready; cat', { stdin: { value: '', close: false } }),
  );
  await using watched = await openPage(browser, `${bench.address}/#/operations/${uuid}`, { script: BREAK_STREAM });
  const { page, requests } = watched;
  const output = page.getByRole('log');
  await output.getByText('ready').waitFor();
  await seen(page, 'executing');
  for (const line of ['one', 'two \u001b[31mred\u202e', 'three']) {
    await engine.processes.write(uuid, 1, {
      value: Buffer.from(`${line}\n`).toString('base64'),
      encoding: 'base64',
      close: false,
    });
  }
  await output.getByText('three').waitFor();
  const lines = ['ready', 'one', String.raw`two \e[31mred\u202e`, 'three'];
  assert.deepEqual(await output.locator('.output-line').allInnerTexts(), lines);
  const streams = requests.filter((request) => request.url().includes('/events'));
  assert.equal(streams.length, 2);
  assert.match(streams[1]!.headers()['last-event-id'] ?? '', /^\d+$/u);
  await engine.processes.write(uuid, 1, { value: '', close: true });
  await page.getByText('success', { exact: true }).waitFor();
  assert.equal((await downloaded(page, 'stdout')).bytes.toString(), 'ready\none\ntwo \u001b[31mred\u202e\nthree\n');
  await seen(page, 'Time by phase');
  watched.expectErrors(/network error/u);
});

test('output beyond the kept size leaves the page small, and the page says what is missing', async () => {
  await using bench = await openConsole();
  const { engine } = bench.engine;
  const kept = limits.outputBytesKept;
  const total = kept + 100_007;
  const count = (bytes: number): string => bytes.toLocaleString('en');
  const { uuid } = await run(
    engine,
    script(bench.engine, `echo x; flood ${total - 7}; echo; echo end`, { disposable: true }),
  );
  await using watched = await openPage(browser, `${bench.address}/#/operations/${uuid}`);
  const { page } = watched;
  await page.getByRole('log').getByText('end', { exact: true }).waitFor();
  await seen(page, `of ${count(total)} bytes of stdout, only the first ${count(kept)} and the last ones were kept`);
  const characters = await page.evaluate('document.body.textContent.length');
  assert.ok((characters as number) < 50_000, `${String(characters)} characters in the page`);
  const { bytes } = await downloaded(page, 'stdout');
  assert.ok(
    bytes
      .subarray(kept, kept + 100)
      .toString()
      .startsWith(`\n[of ${count(total)} bytes`),
  );
  assert.ok(bytes.subarray(-10).toString().endsWith('x\nend\n'));
});

test('a run is started from a form, repeated, and cancelled after a question', async () => {
  await using bench = await openConsole();
  const { engine, base } = bench.engine;
  await using watched = await openPage(browser, `${bench.address}/#/run?image=${base.uuid}`);
  const { page } = watched;
  await page.getByRole('textbox', { name: 'Command' }).fill('echo begun; sleep 600');
  await page.getByLabel('Keep the changes').uncheck();
  await page.getByText('More options').click();
  await page.getByLabel('Network').selectOption('allowlist');
  await page.getByLabel('Allowed hosts').fill('*.example.org\n203.0.113.7');
  await page.getByRole('button', { name: 'Run', exact: true }).click();
  await page.getByRole('log').getByText('begun').waitFor();
  const [{ uuid }] = (await engine.operations.list({ status: 'EXECUTING' })) as [OperationSummary];
  const { metadata } = await engine.operations.get(uuid);
  assert.deepEqual('networking' in metadata && metadata.networking, {
    mode: 'allowlist',
    allow: ['*.example.org', '203.0.113.7'],
  });
  await page.getByRole('button', { name: 'Cancel…' }).click();
  await page.getByRole('button', { name: 'Cancel operation' }).click();
  await page.getByText('cancelled', { exact: true }).first().waitFor();
  assert.equal((await finished(engine, uuid)).status, 'CANCELLED');
  await page.getByRole('link', { name: 'Run again…' }).click();
  assert.equal(await page.getByRole('textbox', { name: 'Command' }).inputValue(), 'echo begun; sleep 600');
  await page.getByRole('textbox', { name: 'Command' }).fill('echo again; exit 4');
  await page.getByRole('button', { name: 'Run', exact: true }).click();
  await page.getByText('exit 4', { exact: true }).first().waitFor();
  await watched.visit('operations');
  await page.getByLabel('Status').selectOption('CANCELLED');
  await page.getByRole('link', { name: 'echo again; exit 4' }).waitFor({ state: 'detached' });
  await page.getByRole('link', { name: 'echo begun; sleep 600' }).waitFor();
  assert.equal(await page.getByRole('row').count(), 2);
});

test('an import is followed to its end, and says why it failed', async () => {
  await using bench = await openConsole();
  await using watched = await openPage(browser, `${bench.address}/#/import`);
  const { page } = watched;
  await page.getByLabel('Reference').fill('python:3.11-slim');
  await page.getByRole('button', { name: 'Import' }).first().click();
  await page.getByRole('heading', { name: 'Import of python:3.11-slim' }).waitFor();
  await page.getByText('failed', { exact: true }).waitFor();
});

test('the overview tells limits, checks, store and traffic, and frees space after a question', async () => {
  await using bench = await openConsole();
  await addFamily(bench.engine);
  await using watched = await openPage(browser, bench.address);
  const { page } = watched;
  await page.getByRole('link', { name: '4 images' }).waitFor();
  await seen(page, 'the fake driver isolates nothing; it is for tests');
  await seen(page, /in total\./u);
  await seen(page, 'uptime');
  await page.getByRole('button', { name: 'Verify the store' }).click();
  await seen(page, /layers/u);
  await page.getByRole('button', { name: 'Free space…' }).click();
  await page.getByRole('button', { name: 'Free space', exact: true }).click();
  await seen(page, /^Freed /u);
});

test('a user who is not an administrator sees their own things, and no actions that they may not do', async () => {
  await using bench = await openConsole({ authentication: { kind: 'fixed', principal: ANYONE } });
  await addFamily(bench.engine);
  await using watched = await openPage(browser, bench.address);
  const { page } = watched;
  const added = (await bench.engine.engine.images.list()).reduce((sum, image) => sum + (image.layer_bytes ?? 0), 0);
  assert.ok(added >= 1024 && added < 1024 * 1024);
  await seen(page, `Your images add ${(added / 1024).toFixed(1)} KiB to their parents.`);
  await seen(page, 'uptime');
  await seen(page, 'store.sqlite is intact');
  for (const name of ['Free space…', 'Verify the store'])
    assert.equal(await page.getByRole('button', { name }).count(), 0);
});

test('a server that is gone is said to be, and the page goes on by itself when it is back', async () => {
  await using bench = await openConsole();
  await using watched = await openPage(browser, `${bench.address}/#/operations`, { expected: /ERR_FAILED/u });
  const { page } = watched;
  await seen(page, 'Nothing has run yet');
  await page.route('**/v1/**', (route) => route.abort());
  const outage = page.getByRole('status').getByText(/^The server does not respond/u);
  await outage.waitFor();
  await page.unroute('**/v1/**');
  await run(bench.engine.engine, script(bench.engine, 'echo back', { disposable: true }));
  await page.getByRole('link', { name: 'echo back' }).waitFor();
  assert.equal(await outage.count(), 0);
});

test('what is pressed while the page draws itself anew is still pressed', async () => {
  await using bench = await openConsole();
  await run(bench.engine.engine, script(bench.engine, 'echo slow finger', { disposable: true }));
  await using watched = await openPage(browser, `${bench.address}/#/operations`);
  const { page, requests } = watched;
  const lists = (): number => requests.filter((request) => request.url().includes('/v1/operations?')).length;
  await page.getByRole('link', { name: 'echo slow finger' }).hover();
  const before = lists();
  while (lists() === before) await page.waitForTimeout(20);
  await page.mouse.down();
  await page.waitForTimeout(400);
  await page.mouse.up();
  await page.getByRole('heading', { name: 'echo slow finger' }).waitFor();
});
