import assert from 'node:assert/strict';
import { chromium, type Browser, type BrowserContextOptions, type Page, type Request } from 'playwright-core';

/** A page whose errors are collected, and fail the test when it is disposed. */
export interface WatchedPage extends AsyncDisposable {
  readonly page: Page;
  /** All requests of the page. */
  readonly requests: readonly Request[];
  /**
   * Navigates within the page and waits until the previous content is gone, so that it cannot be mistaken for the new
   * one.
   */
  visit(place: string): Promise<void>;
  /** Allows console messages of this kind from now on. */
  expectErrors(pattern: RegExp): void;
}

/** Starts the distribution's browser, with flags that keep it from contacting the network. */
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
  /** Errors that the test is about. */
  readonly expected?: RegExp;
  /** Script that runs before the page's own. */
  readonly script?: string;
}

/**
 * Opens a page at `address`. When disposed it fails on console errors, policy violations, dialogs, and requests to
 * other origins.
 */
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
