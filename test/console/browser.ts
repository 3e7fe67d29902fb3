import assert from 'node:assert/strict';
import { chromium, type Browser, type BrowserContextOptions, type Page, type Request } from 'playwright-core';

/** A page that must not misbehave: what it may not do is collected, and looked at when it is disposed. */
export interface WatchedPage extends AsyncDisposable {
  readonly page: Page;
  /** Every request that it has made. */
  readonly requests: readonly Request[];
  /** Goes to another place of the page. What was shown before is gone then: it cannot be taken for the new place. */
  visit(place: string): Promise<void>;
  /** Console messages of this kind are expected from now on. */
  expectErrors(pattern: RegExp): void;
}

/** The distribution's browser. Its flags keep it from asking anyone on the network for anything. */
export function openBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}

export interface PageOptions extends BrowserContextOptions {
  /** Complaints that the test is about. */
  readonly expected?: RegExp;
  /** Runs in the page before anything of its own. */
  readonly script?: string;
}

/** Opens a page at `address`. Fails at its end on console errors, refused policies, dialogs, and requests elsewhere. */
export async function openPage(browser: Browser, address: string, options: PageOptions = {}): Promise<WatchedPage> {
  const { script = '', expected: known, ...contextOptions } = options;
  const context = await browser.newContext({ acceptDownloads: true, ...contextOptions });
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  const { origin } = new URL(address);
  const requests: Request[] = [];
  const complaints: string[] = [];
  const expected = known === undefined ? [] : [known];
  const complain = (text: string): void =>
    void (expected.some((pattern) => pattern.test(text)) || complaints.push(text));
  page.on('request', (request) => {
    requests.push(request);
    if (!/^(?:blob|data):/u.test(request.url()) && new URL(request.url()).origin !== origin)
      complain(`request to ${request.url()}`);
  });
  page.on(
    'console',
    (message) => ['error', 'warning'].includes(message.type()) && complain(`console: ${message.text()}`),
  );
  page.on('pageerror', (error) => complain(`page: ${error.stack ?? error.message}`));
  page.on('dialog', (dialog) => (complain(`dialog: ${dialog.message()}`), void dialog.dismiss()));
  await context.exposeBinding('reportViolation', (_source, text: string) => complain(`policy: ${text}`));
  await page.addInitScript({
    content: `addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI, sample }) =>
      reportViolation([violatedDirective, blockedURI, sample].join(' ')));`,
  });
  if (script !== '') await page.addInitScript({ content: script });
  await page.goto(address);
  return {
    page,
    requests,
    visit: async (place) => {
      const target = `${origin}/#/${place}`;
      if (page.url() === target) return;
      await page.evaluate(`document.querySelector('main > *')?.setAttribute('data-left', '')`);
      await page.goto(target);
      await page.locator('[data-left]').waitFor({ state: 'detached' });
    },
    expectErrors: (pattern) => void expected.push(pattern),
    [Symbol.asyncDispose]: async () => {
      await context.close();
      assert.deepEqual(complaints, []);
    },
  };
}
