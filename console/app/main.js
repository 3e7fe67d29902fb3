import { onConnectionChange, onTokenNeeded, setToken, takeTokenOfLink, token } from './api/session.js';
import { fill, h, icon } from './kit/dom.js';
import { askText } from './kit/dialog.js';
import { button, liveRegion, pageHead, problem } from './kit/parts.js';
import { href, parseRoute } from './kit/route.js';
import { applyTheme, nextTheme, theme } from './kit/theme.js';
import { buildForm } from './views/builds/build-form.js';
import { compare } from './views/images/compare.js';
import { image } from './views/images/image.js';
import { images } from './views/images/images.js';
import { importForm } from './views/images/import-form.js';
import { instance } from './views/instances/instance.js';
import { instances, openForm } from './views/instances/instances.js';
import { operation } from './views/operations/operation.js';
import { operations } from './views/operations/operations.js';
import { overview } from './views/overview/overview.js';
import { runForm } from './views/operations/run-form.js';
import { tools } from './views/tools/tools.js';

/**
 * @import { Route } from './kit/route.js'
 * @import { Scope } from './kit/scope.js'
 * @import { IconName } from './kit/dom.js'
 * @typedef {(route: Route, scope: Scope) => Promise<Node> | Node} View
 */

/** Views by the first part of the path; a longer path is another view. @type {Readonly<Record<string, View>>} */
const VIEWS = {
  '': overview,
  tools,
  images: (route, scope) => (route.path.length > 1 ? image : images)(route, scope),
  operations: (route, scope) => (route.path.length > 1 ? operation : operations)(route, scope),
  instances: (route, scope) => (route.path.length > 1 ? instance : instances)(route, scope),
  open: openForm,
  compare,
  run: runForm,
  import: importForm,
  build: buildForm,
};

/** @type {readonly (readonly [path: string, label: string, icon: IconName, also: readonly string[]])[]} */
const PLACES = [
  ['', 'Overview', 'overview', []],
  ['tools', 'Tools', 'tools', []],
  ['images', 'Images', 'images', ['compare', 'import', 'build']],
  ['instances', 'Instances', 'instances', ['open']],
  ['operations', 'Operations', 'operations', ['run']],
];

/** Time a view may take before the page shows that it is loading. */
const PATIENCE_MS = 200;

const main = h('main', { id: 'main', tabindex: -1 });
const places = h('ul');
const account = h('div', { class: 'account' });
const outage = h('div', { class: 'outage', role: 'status' });

/** @type {AbortController} */
let life = new AbortController();
let lastPlace = '';

function drawFrame() {
  const mark = h('img', { src: 'icon.svg', alt: '', width: 28, height: 28 });
  const home = h('a', { class: 'home', href: href([]) }, mark, h('span', null, 'ConTree'));
  const nav = h('nav', { class: 'places', 'aria-label': 'Main' }, places);
  const foot = h('div', { class: 'side-foot' }, account, themeButton());
  const app = /** @type {HTMLElement} */ (document.querySelector('#app'));
  fill(app, h('header', { class: 'side' }, home, nav, foot), h('div', { class: 'page' }, outage, main));
  document.body.append(liveRegion());
}

function themeButton() {
  const label = () => `Theme: ${theme()}`;
  const text = h('span', null, label());
  const onclick = () => {
    nextTheme();
    text.textContent = label();
  };
  return h('button', { type: 'button', class: 'button quiet', onclick }, icon('theme'), text);
}

function drawAccount() {
  const forget = () => {
    setToken('');
    // Data read with it is discarded too.
    location.reload();
  };
  fill(account, token() !== '' && button('Forget the token', forget, { kind: 'quiet', icon: 'key' }));
}

/** @param {string} first */
function drawPlaces(first) {
  fill(
    places,
    PLACES.map(([path, label, name, also]) => {
      const current = path === first || also.includes(first);
      return h(
        'li',
        null,
        h(
          'a',
          { href: href([path].filter(Boolean)), 'aria-current': current && 'page' },
          icon(name),
          h('span', null, label),
        ),
      );
    }),
  );
}

/** Draws the view that the address names. */
async function show() {
  life.abort(new DOMException('the user navigated away', 'AbortError'));
  life = new AbortController();
  const { signal } = life;
  declined = false;
  const route = parseRoute(location.hash);
  const [first = ''] = route.path;
  drawPlaces(first);
  drawAccount();
  const waiting = setTimeout(() => fill(main, h('p', { class: 'loading', role: 'status' }, 'Loading…')), PATIENCE_MS);
  /** @type {Node} */
  let content;
  try {
    const view = VIEWS[first];
    content = view ? await view(route, { signal, reload: () => void show() }) : nowhere();
  } catch (error) {
    if (signal.aborted) return;
    content = h(
      'div',
      null,
      pageHead('This page cannot be shown'),
      problem(error, () => void show()),
    );
  } finally {
    clearTimeout(waiting);
  }
  if (signal.aborted) return;
  fill(main, content);
  settle(route);
}

/**
 * Sets the page title, and moves the focus to the heading after a navigation.
 * @param {Route} route
 */
function settle({ path }) {
  const heading = main.querySelector('h1');
  document.title = heading ? `${heading.textContent} · ConTree` : 'ConTree';
  const place = path.join('/');
  if (place === lastPlace) return;
  if (lastPlace !== '' || path.length > 0) (heading ?? main).focus({ preventScroll: true });
  lastPlace = place;
  scrollTo(0, 0);
}

function nowhere() {
  return h(
    'div',
    null,
    h('h1', { tabindex: -1 }, 'Page not found'),
    h('p', null, h('a', { href: href([]) }, 'Go to the overview')),
  );
}

/** @type {Promise<boolean> | undefined} */
let asking;
/** True when the user dismissed the prompt on this page. */
let declined = false;

/**
 * Shows one prompt at a time, however many requests were refused.
 * @param {boolean} refused
 */
function promptForToken(refused) {
  // Polling in the background must not show the prompt again and again.
  if (declined) return Promise.resolve(false);
  asking ??= (async () => {
    const why = refused
      ? 'This token was not accepted: it may have expired or been revoked.'
      : 'This server requires a token.';
    const how = h(
      'p',
      null,
      'Open the link that the server printed when it started, or create one on the server with ',
      h('code', null, 'contree token create'),
      '.',
    );
    const hint = 'It is kept in this tab only, until the tab is closed.';
    const given = await askText('Sign in', 'Token', {
      confirm: 'Sign in',
      secret: true,
      hint,
      before: [h('p', null, why), how],
    });
    declined = given === undefined || given === '';
    if (given === undefined || given === '') return false;
    setToken(given);
    drawAccount();
    return true;
  })().finally(() => (asking = undefined));
  return asking;
}

applyTheme();
// Before anything is requested, and before the address is read as a place.
takeTokenOfLink();
drawFrame();
onTokenNeeded(promptForToken);
onConnectionChange((there) => {
  fill(
    outage,
    !there && h('p', null, 'The server does not respond. The page may be outdated; it retries automatically.'),
  );
});
addEventListener('hashchange', () => {
  if (takeTokenOfLink()) {
    declined = false;
    drawAccount();
  }
  void show();
});
document.querySelector('.skip')?.addEventListener('click', (event) => {
  event.preventDefault();
  main.focus();
});
void show();
