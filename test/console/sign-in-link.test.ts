import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { openCli } from '../support/cli-bench.ts';
import { openBrowser, openPage } from './browser.ts';

const PROGRAM = new URL('../../bin/contree-mcp', import.meta.url).pathname;

test('the link that contree-mcp --mode http prints signs in, and its token leaves the address at once', async () => {
  await using cli = await openCli();
  cli.contree.addImage({}, 'common/base');
  const args = [PROGRAM, '--mode', 'http', '--http-port', '0', '--data-dir', cli.folder];
  const server = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const browser = await openBrowser();
  try {
    let link = '';
    for await (const line of createInterface({ input: server.stderr })) {
      [, link = ''] = /^open (http:\/\/localhost:\d+\/#token=\S+)$/u.exec(line) ?? [];
      if (link !== '') break;
    }
    const { hash, origin } = new URL(link);
    const token = hash.slice('#token='.length);
    // Only administrators may ask for the store's usage.
    await using watched = await openPage(browser, link, { expected: /403/u });
    const { page, requests } = watched;
    await page.getByRole('button', { name: 'Forget the token' }).waitFor();
    await page.getByText('accepted by this server').waitFor();
    assert.equal(await page.getByText('not required').count(), 0, 'this server requires a token');
    await watched.visit('images');
    await page.getByText('common/base').first().waitFor();
    assert.equal(new URL(page.url()).origin, origin);
    assert.ok(!page.url().includes(token), page.url());
    assert.equal(await page.getByRole('dialog').count(), 0, 'nobody is asked for it');
    assert.deepEqual(
      requests.filter((request) => request.url().includes(token)).map((request) => request.url()),
      [],
    );
    await page.goBack();
    await page.getByText('accepted by this server').waitFor();
    assert.ok(!page.url().includes(token), 'not in the history either');
    const { CONTREE_TEST_SCREENSHOT: picture } = process.env;
    if (picture !== undefined) await page.screenshot({ path: picture });
  } finally {
    await browser.close();
    server.kill('SIGTERM');
    await once(server, 'exit');
  }
});
