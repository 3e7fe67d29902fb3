import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import axe from 'axe-core';
import type { Browser, Page } from 'playwright-core';
import { OWNER, type Authentication } from '../../src/http/auth.ts';
import { finished, run, script } from '../engine/bench.ts';
import { addFamily, addHardImage, HOSTILE_NAMES, openConsole } from './bench.ts';
import { openBrowser, openPage } from './browser.ts';

let browser: Browser;
before(async () => {
  browser = await openBrowser();
});
after(() => browser.close());

const TOKEN = 'a-token-that-is-good';
const WITH_TOKEN: Authentication = {
  kind: 'token',
  verifier: { verify: async (token) => (token === TOKEN ? OWNER : undefined) },
};

test('a server that wants a token is given one, which stays out of addresses and ends with the tab', async () => {
  await using bench = await openConsole({ authentication: WITH_TOKEN });
  const { uuid } = bench.engine.base;
  await using watched = await openPage(browser, `${bench.address}/#/images/${uuid}/files?path=/etc/passwd`, {
    expected: /40[13]/u,
  });
  const { page, requests } = watched;
  const dialog = page.getByRole('dialog', { name: 'Sign in' });
  await dialog.getByText('This server requires a token.').waitFor();
  await dialog.getByLabel('Token').fill('wrong');
  await dialog.getByLabel('Token').press('Enter');
  await page.getByText('This token was not accepted').waitFor();
  await page.getByRole('dialog').getByLabel('Token').fill(TOKEN);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByText('root:x:0:0').waitFor();
  const [download] = await Promise.all([
    page.waitForEvent('download'),
    page.getByRole('button', { name: 'Download', exact: true }).click(),
  ]);
  assert.match(await readFile(await download.path(), 'utf8'), /^root:x:0:0/u);
  await watched.visit('tools/whoami');
  await page.getByRole('button', { name: 'Call whoami' }).click();
  await page
    .getByRole('group', { name: 'Text of the result' })
    .getByText(/allowed: list/u)
    .waitFor();
  assert.deepEqual(
    requests.filter((request) => request.url().includes(TOKEN)).map((request) => request.url()),
    [],
  );
  assert.equal(await page.evaluate(`localStorage.length`), 0);
  assert.equal(await page.evaluate(`document.documentElement.outerHTML.includes('${TOKEN}')`), false);
  await page.getByRole('button', { name: 'Forget the token' }).click();
  await page.getByRole('dialog', { name: 'Sign in' }).waitFor();
  await page.keyboard.press('Escape');
  await page.getByRole('alert').getByText('TOKEN_MISSING').waitFor();
  assert.equal(await page.evaluate(`sessionStorage.length`), 0);
});

test('hostile names, targets, output and commands are shown for what they are and do nothing', async () => {
  await using bench = await openConsole();
  const { engine } = bench.engine;
  const { uuid } = await addHardImage(bench.engine);
  await using watched = await openPage(browser, `${bench.address}/#/images/${uuid}/files?path=/hostile`);
  const { page } = watched;
  const links = page.getByRole('cell').getByRole('link');
  await links.first().waitFor();
  const shown = await links.allInnerTexts();
  assert.equal(shown.length, HOSTILE_NAMES.length);
  for (const text of [
    String.raw`photo\u202egnp.exe`,
    String.raw`\e[31mred\e[0m`,
    String.raw`two\nlines`,
    HOSTILE_NAMES[0]!,
  ]) {
    assert.ok(shown.includes(text), text);
  }
  assert.equal(await page.locator('main img, main script, main svg [onload]').count(), 0);
  for (const [index, name] of HOSTILE_NAMES.entries()) {
    await watched.visit(`images/${uuid}/files?path=/hostile`);
    await links.nth(shown.findIndex((text) => text === (escapes[name] ?? name))).click();
    await page
      .getByRole('group', { name: /^Content of/u })
      .getByText(new RegExp(`^${index} `, 'u'))
      .waitFor();
  }
  const command = `echo '<img src=x onerror=alert(1)>' '\u202e' > '/<b>bold'; echo '<script>alert(2)</script>'`;
  const made = await run(engine, script(bench.engine, command));
  for (const place of [
    `operations/${made.uuid}`,
    `images/${made.result_image_uuid}/lineage`,
    'operations',
    'images',
    '',
  ]) {
    await watched.visit(place);
    await page.getByText('onerror=alert(1)').first().waitFor();
  }
  await watched.visit(`compare?from=${bench.engine.base.uuid}&to=${made.result_image_uuid}`);
  await page.getByText('/<b>bold').click();
  await page.getByText(String.raw`<img src=x onerror=alert(1)> \u202e`).waitFor();
  assert.match(await page.title(), /^Compare/u);
});

/** The names as the page shows them, with invisible characters made visible. */
const escapes: Readonly<Record<string, string>> = {
  '\u001b[31mred\u001b[0m': String.raw`\e[31mred\e[0m`,
  'photo\u202egnp.exe': String.raw`photo\u202egnp.exe`,
  'two\nlines': String.raw`two\nlines`,
  'zero\u200bwidth': String.raw`zero\u200bwidth`,
};

test('text cannot become markup even by mistake: the policy takes the means away', async () => {
  await using bench = await openConsole();
  await using watched = await openPage(browser, bench.address, { expected: /Trusted|trusted-types/u });
  await watched.page.getByRole('heading', { name: 'Overview' }).waitFor();
  for (const attempt of [`document.body.innerHTML = '<p>x'`, `document.body.setAttribute('onclick', 'alert(1)')`]) {
    const name = await watched.page.evaluate(`(() => { try { ${attempt}; } catch (error) { return error.name; } })()`);
    assert.equal(name, 'TypeError', attempt);
  }
});

const focused = (page: Page): Promise<string> =>
  page.evaluate(`(document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent).trim()`);

test('everything can be done with the keyboard alone', async () => {
  await using bench = await openConsole();
  const { tagged } = await addFamily(bench.engine);
  await using watched = await openPage(browser, bench.address);
  const { page } = watched;
  const press = async (...keys: string[]): Promise<void> => {
    for (const key of keys) await page.keyboard.press(key);
  };
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
  await press('Tab');
  assert.equal(await focused(page), 'Skip to content');
  await press('Enter', 'Tab');
  assert.equal(await focused(page), 'Run a command', 'the next stop after the skip link is in the content');
  await page.getByRole('navigation', { name: 'Main' }).getByRole('link', { name: 'Images' }).focus();
  await press('Enter');
  await page.getByRole('tree').waitFor();
  assert.equal(await focused(page), 'Images', 'a new page begins at its heading');
  await press('Tab', 'Tab', 'Tab', 'Tab', 'Tab');
  assert.equal(await focused(page), 'Images by lineage');
  await press('ArrowDown', 'Space', 'ArrowDown', 'Space');
  await page.getByRole('button', { name: 'Compare' }).waitFor();
  await press('ArrowUp', 'ArrowLeft');
  assert.equal(await page.getByRole('treeitem').count(), 2, 'closed by the arrow to the left');
  await press('ArrowRight', 'Enter');
  await page.getByRole('heading', { name: 'common/python-ml/python:3.11-slim' }).waitFor();
  await page.getByRole('button', { name: 'Delete…' }).focus();
  await press('Enter');
  assert.equal(await focused(page), 'Cancel', 'what cannot be undone does not lie under Enter');
  await press('Tab', 'Tab', 'Tab');
  const inside = await page.evaluate(
    `document.querySelector('dialog').contains(document.activeElement) || document.activeElement === document.body`,
  );
  assert.equal(inside, true, 'the focus stays in the dialog');
  await press('Escape');
  assert.equal(await focused(page), 'Delete…', 'and comes back');
  await page.getByRole('link', { name: 'Run a command' }).focus();
  await press('Enter');
  await page.getByRole('textbox', { name: 'Command' }).focus();
  await page.keyboard.type('echo by keyboard');
  await press('Control+Enter');
  await page.getByRole('log').getByText('by keyboard').waitFor();
  const [operation] = await bench.engine.engine.operations.list({ limit: 1 });
  assert.equal((await finished(bench.engine.engine, operation!.uuid)).status, 'SUCCESS');
  assert.equal(operation!.image_uuid, tagged);
});

for (const [scheme, width] of [
  ['light', 1280],
  ['dark', 400],
] as const) {
  test(`every view is accessible: ${scheme}, ${width} pixels wide`, async () => {
    await using bench = await openConsole();
    const { tagged, branches } = await addFamily(bench.engine);
    const hard = await addHardImage(bench.engine);
    const [operation] = await bench.engine.engine.operations.list({});
    const options = { colorScheme: scheme, viewport: { width, height: 800 }, expected: /404/u };
    await using watched = await openPage(browser, bench.address, options);
    const [inHard, inTagged] = [`images/${hard.uuid}`, `images/${tagged}`];
    const places = `
      tools tools/run tools/instructions tools/prompts/run-shell tools/guides/workflow tools/resources
      images ${inHard} ${inHard}/files?path=/hostile ${inHard}/files?path=/large.txt ${inHard}/files?path=/program
      ${inTagged}/lineage ${inTagged}/search?pattern=root compare?from=${tagged}&to=${branches[0]}
      operations operations/${operation!.uuid} run import build images/none nowhere`.split(/\s+/u);
    for (const place of places) {
      await watched.visit(place);
      await watched.page.getByRole('heading', { level: 1 }).waitFor();
      await watched.page.waitForLoadState('networkidle');
      await watched.page.evaluate(`document.querySelectorAll('main details').forEach((part) => (part.open = true))`);
      await watched.page.waitForLoadState('networkidle');
      await watched.page.evaluate(axe.source);
      const found = await watched.page.evaluate(
        `axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => violations.map(({ id, nodes }) => id + ': ' + nodes.map(({ html }) => html).slice(0, 3).join(' ')))`,
      );
      assert.deepEqual(found, [], `#/${place}`);
      const wide = await watched.page.evaluate(
        `document.documentElement.scrollWidth - document.documentElement.clientWidth`,
      );
      assert.equal(wide, 0, `#/${place} does not scroll sideways`);
    }
  });
}
