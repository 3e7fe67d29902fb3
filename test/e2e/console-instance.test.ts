import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { Browser, Page } from 'playwright-core';
import type { HttpContree } from '../../src/client/index.ts';
import { createApp } from '../../src/http/app.ts';
import { Activity } from '../../src/http/activity.ts';
import { OWNER } from '../../src/http/auth.ts';
import { listen } from '../../src/http/listen.ts';
import { SILENT } from '../../src/http/log.ts';
import { folderMount } from '../../src/http/static.ts';
import { openBrowser, openPage } from '../console/browser.ts';
import { cliHome, type CliHome } from '../support/home.ts';
import { collect } from '../../src/std/bytes.ts';
import { FakeRegistry } from '../support/servers/registry.ts';
import { addBusybox } from '../support/small-image.ts';

/* The console's page of an instance, in a real browser on a real sandbox: its terminal is one. */

let browser: Browser;
let home: CliHome;
let contree: HttpContree;
let base: string;

before(async () => {
  browser = await openBrowser();
  await using registry = await FakeRegistry.start();
  await addBusybox(registry, '1');
  home = await cliHome();
  // Other commands reach the engine that the first one starts.
  const env = { CONTREE_DEFAULT_SANDBOX: 'gvisor' };
  const reference = `docker://${registry.host}/team/app:1`;
  const imported = await home.json<{ result_image_uuid: string }>(['import', reference], { env });
  base = imported.result_image_uuid;
  contree = await home.connect();
  // The sandbox is chosen by now, so that the page need not wait for it.
  await home.run(['run', base, '--', 'true']);
});

after(async () => {
  await browser.close();
  await contree[Symbol.asyncDispose]();
  await home[Symbol.asyncDispose]();
});

/** Serves the console over the running engine. */
async function serve(): Promise<{ readonly address: string } & AsyncDisposable> {
  const page = await folderMount(join(import.meta.dirname, '../../console'));
  assert.ok(page);
  const closing = new AbortController();
  const app = createApp({
    contreeFor: () => contree,
    log: SILENT,
    version: 'test',
    authentication: { kind: 'fixed', principal: OWNER },
    origin: { names: [], anyHost: false },
    mounts: [page],
    closing: closing.signal,
  });
  await using parts = new AsyncDisposableStack();
  const { address } = parts.use(await listen(app, { kind: 'tcp', host: '127.0.0.1', port: 0 }, new Activity()));
  // Runs first: a log that is followed would keep the server from ending.
  parts.defer(() => closing.abort());
  const owned = parts.move();
  return { address, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** Waits until a line of the terminal is this text. */
const line = (page: Page, text: string): Promise<void> =>
  page.locator('.xterm-rows > div').filter({ hasText: text }).first().waitFor();

test('an instance is opened, typed into, saved, branched and closed in the console', async () => {
  await using server = await serve();
  await using watched = await openPage(browser, `${server.address}/#/open?image=${base}`);
  const { page } = watched;
  await page.getByRole('button', { name: 'Open', exact: true }).click();
  await page.getByRole('button', { name: 'New shell' }).click();
  const terminal = page.getByRole('group', { name: 'Terminal' });
  await line(page, '#');
  await page.keyboard.type(
    "stty size; printf '\\033[38;2;200;10;10mr\\303\\266t\\033[0m\\n'; echo $((6*7)) > /root/answer\n",
  );
  await line(page, 'röt');
  await terminal
    .locator('.xterm-rows > div')
    .filter({ hasText: /^\d{2,} \d{2,}$/u })
    .waitFor();
  const painted = await page.evaluate<string>(
    `getComputedStyle([...document.querySelectorAll('.xterm-rows span')].find((span) => span.textContent === 'röt')).color`,
  );
  assert.equal(painted, 'rgb(200, 10, 10)', 'escape codes are obeyed');
  await page.keyboard.type('echo wait $((1+2)); sleep 1000\n');
  await line(page, 'wait 3');
  await page.keyboard.press('Control+c');
  await page.keyboard.type('echo still $((1+1)) here\n');
  await line(page, 'still 2 here');
  await page.keyboard.type('httpd -p 127.0.0.1:8080 -h /root && echo serving $((1+1))\n');
  await line(page, 'serving 2');
  await page.getByLabel('Port in the instance').fill('8080');
  await page.getByRole('button', { name: 'Publish' }).click();
  const published = (await page.getByText(/^8080 at port \d+$/u).textContent()) ?? '';
  const answer = await fetch(`http://127.0.0.1:${/\d+$/u.exec(published)?.[0]}/answer`);
  assert.equal(await answer.text(), '42\n');
  await page.getByRole('button', { name: 'Snapshot…' }).click();
  await page.getByLabel('Tag').fill('console/kept');
  await page.getByRole('button', { name: 'Make an image' }).click();
  await page.getByRole('link', { name: 'last image' }).waitFor();
  const { body } = await contree.files.read('tag:console/kept', { path: '/root/answer' });
  assert.equal((await collect(body, 100)).toString(), '42\n');
  await page.getByRole('button', { name: 'Show' }).first().click();
  await line(page, 'still 2 here');
  await page.keyboard.type('exit 7\n');
  await line(page, '[exit 7]');
  await page.getByText('exit 7', { exact: true }).first().waitFor();
  await page.getByRole('button', { name: 'Close…' }).click();
  await page.getByRole('button', { name: 'Close', exact: true }).click();
  await page.getByText('success', { exact: true }).waitFor();
});
