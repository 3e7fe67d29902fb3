import assert from 'node:assert/strict';
import { mkdir, mkdtempDisposable, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import axe from 'axe-core';
import type { Locator, Page } from 'playwright-core';
import { finished } from '../engine/bench.ts';
import { openConsole } from './bench.ts';
import { openBrowser, openPage } from './browser.ts';

async function violations(page: Page): Promise<unknown> {
  await page.evaluate(axe.source);
  return await page.evaluate(
    `axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => violations.map(({ id, nodes }) => id + ': ' + nodes.map(({ html }) => html).slice(0, 3).join(' ')))`,
  );
}

/** Drops a file or folder of this machine, as the user does from a file manager. */
async function dropOn(page: Page, place: Locator, path: string): Promise<void> {
  await place.scrollIntoViewIfNeeded();
  const { x = 0, y = 0 } = (await place.boundingBox()) ?? {};
  const session = await page.context().newCDPSession(page);
  const data = { items: [], files: [path], dragOperationsMask: 1 };
  for (const type of ['dragEnter', 'dragOver', 'drop'] as const) {
    await session.send('Input.dispatchDragEvent', { type, x: x + 2, y: y + 2, data });
  }
  await session.detach();
}

test('a folder is built: live steps, a failed one that is opened, a cached one, and the image', async () => {
  await using bench = await openConsole();
  const { engine, base } = bench.engine;
  await engine.tags.set(base.uuid, { tag: 'base' });
  await using folder = await mkdtempDisposable(join(tmpdir(), 'contree-console-build-'));
  await mkdir(join(folder.path, 'app/sub'), { recursive: true });
  await writeFile(join(folder.path, 'app/sub/file'), 'of the folder\n');
  await writeFile(join(folder.path, 'app/Dockerfile'), 'FROM base\nCOPY sub/file /copied\nRUN echo told; exit 3\n');
  await using browser = await openBrowser();
  await using watched = await openPage(browser, `${bench.address}/#/images`);
  const { page } = watched;
  await page.getByRole('link', { name: 'Build from a Dockerfile' }).click();
  await page.getByLabel('Folder').setInputFiles(join(folder.path, 'app'));
  await page.getByText('2 files').waitFor();
  assert.match(await page.getByLabel('Dockerfile').inputValue(), /^FROM base\nCOPY/u);
  assert.deepEqual(await violations(page), []);
  await page.getByLabel('Tag', { exact: true }).fill('of-console');
  await page.getByLabel('Dockerfile').press('Control+Enter');
  const steps = page.getByRole('listitem');
  await steps.filter({ hasText: 'failed' }).filter({ hasText: 'RUN echo told; exit 3' }).waitFor();
  await page.getByRole('group', { name: 'Output of step 3' }).getByText('told').waitFor();
  await page.getByText(/line 3 of the Dockerfile: RUN echo told; exit 3: exit code 3/u).waitFor();
  assert.deepEqual(await violations(page), []);
  const [failed] = await engine.operations.list({ status: 'FAILED' });
  await page.getByRole('button', { name: 'Open an instance before this step' }).press('Enter');
  await page.getByRole('heading', { name: 'Terminal' }).waitFor();
  const [instance] = await engine.instances.list({});
  assert.match(failed?.error ?? '', new RegExp(`the image before it is ${instance?.image}`, 'u'));
  await engine.instances.close(instance?.uuid ?? '', { keep: false });

  await watched.visit('build');
  await dropOn(page, page.getByText('Drop a folder here'), join(folder.path, 'app'));
  await page.getByText('2 files').waitFor();
  await page.getByLabel('Dockerfile').fill('FROM base\nARG NAME\nCOPY sub/file /copied\nRUN touch "/$NAME"');
  await page.getByText('More options').click();
  await page.getByLabel('Build arguments').fill('NAME=given');
  await page.getByRole('button', { name: 'Build', exact: true }).click();
  await page.getByRole('link', { name: 'New image' }).click();
  await page.getByRole('link', { name: 'given' }).waitFor();

  await watched.visit('build');
  await page.getByLabel('Dockerfile').fill('FROM base\nRUN echo waits; sleep 600');
  await page.getByRole('button', { name: 'Build', exact: true }).click();
  await page.getByRole('group', { name: 'Output of step 2' }).getByText('waits').waitFor();
  await page.getByRole('button', { name: 'Cancel…' }).click();
  await page.getByRole('button', { name: 'Cancel operation' }).click();
  await page.getByText('cancelled').first().waitFor();
  const [last] = await engine.operations.list({ limit: 1 });
  assert.equal((await finished(engine, last?.uuid ?? '')).status, 'CANCELLED');
});
