import { listImages, listInstances, openInstance } from '../../api/v1.js';
import { fill, h } from '../../kit/dom.js';
import { form } from '../../kit/form.js';
import { age, moment, short } from '../../kit/format.js';
import { buttonLink, checkbox, empty, field, pageHead, problem, select, statusBadge, table } from '../../kit/parts.js';
import { go, href } from '../../kit/route.js';
import { every, released } from '../../kit/scope.js';
import { pairsOf } from '../../kit/values.js';
import { portLink } from './ports.js';

/**
 * @import { Route } from '../../kit/route.js'
 * @import { Scope } from '../../kit/scope.js'
 * @import { InstanceSummary } from '../../../../src/contract/instance.ts'
 */

const REFRESH_MS = 2_000;
const TEXT = { type: 'text', spellcheck: 'false', autocomplete: 'off' };

/** Columns as [name, class]. @type {readonly (readonly [string, string])[]} */
const COLUMNS = [
  ['Instance', ''],
  ['Status', ''],
  ['Image', 'wide-only'],
  ['Processes', 'number-cell'],
  ['Ports', ''],
  ['Last used', ''],
  ['Ends', 'wide-only'],
];

/**
 * Lists the instances that are open, and keeps the list up to date; with `all` in the address also those that have ended.
 * @param {Route} route
 * @param {Scope} scope
 */
export async function instances({ query }, scope) {
  const all = query.get('all') !== null;
  const body = h('div');
  const refresh = async () => {
    const found = await listInstances({ all }, scope.signal);
    await released();
    fill(body, found.length === 0 ? nothing() : table('Instances', COLUMNS, found.map(row)));
  };
  await refresh();
  every(scope, REFRESH_MS, refresh, (error) => fill(body, problem(error, scope.reload)));
  const choice = select(
    [
      ['', 'Open'],
      ['1', 'Open and ended'],
    ],
    all ? '1' : '',
    {
      'aria-label': 'Which',
      onchange: (/** @type {Event} */ event) => {
        const chosen = /** @type {HTMLSelectElement} */ (event.target).value;
        go(href(['instances'], { all: chosen || undefined }));
      },
    },
  );
  return h(
    'div',
    null,
    pageHead('Instances', {
      about: 'Sandboxes that stay open for one command after another.',
      actions: [buttonLink('Open an instance', href(['open']), { kind: 'primary', icon: 'play' })],
    }),
    h('div', { class: 'toolbar' }, choice),
    body,
  );
}

function nothing() {
  return empty('No instance is open', 'Open one of an image to keep a shell, or to start a server and look at it.', [
    buttonLink('Open an instance', href(['open']), { kind: 'primary' }),
  ]);
}

/** @param {InstanceSummary} instance */
function row(instance) {
  const { uuid, image, processes, ports, last_used_at: used, ends_at: ends } = instance;
  return h(
    'tr',
    null,
    h('td', null, h('a', { href: href(['instances', uuid]) }, h('code', null, short(uuid)))),
    h('td', null, statusBadge(instance)),
    h('td', { class: 'wide-only' }, h('a', { href: href(['images', image]) }, h('code', null, short(image)))),
    h('td', { class: 'number-cell' }, processes),
    h(
      'td',
      null,
      ports.flatMap((port) => [portLink(uuid, port), ' ']),
    ),
    h('td', { title: moment(used) }, age(used)),
    h('td', { class: 'wide-only' }, ends === null ? '–' : moment(ends)),
  );
}

/**
 * Shows the form that opens an instance of an image (`image`).
 * @param {Route} route
 * @param {Scope} scope
 */
export async function openForm({ query }, { signal }) {
  const images = await listImages({ limit: 200 }, signal);
  const names = images.flatMap(({ tags = [], uuid }) => (tags.length > 0 ? tags.map((tag) => `tag:${tag}`) : [uuid]));
  const choices = h(
    'datalist',
    { id: 'images' },
    names.map((name) => h('option', { value: name })),
  );
  const image = h('input', { ...TEXT, list: 'images', value: query.get('image') ?? names[0] ?? '' });
  const ports = h('input', { ...TEXT, placeholder: '3000 8080' });
  const env = h('textarea', { rows: 3, spellcheck: 'false', class: 'mono', placeholder: 'NAME=value' });
  const keeps = checkbox('Keep the changes as an image when it ends', true);
  const network = checkbox('Network', true, { hint: 'the internet, but not your local network' });
  const act = async () => {
    const asked = ports.value.split(/[\s,]+/u).filter(Boolean);
    const { uuid } = await openInstance({
      image: image.value.trim(),
      disposable: !keeps.box.checked,
      networking: { mode: network.box.checked ? 'public' : 'none' },
      ...(asked.length > 0 && { publish: asked.map((port) => ({ port: Number(port) })) }),
      ...(env.value.trim() !== '' && { env: pairsOf(env.value) }),
    });
    go(href(['instances', uuid]));
  };
  const fields = [
    choices,
    field('Image', image, { required: true, hint: 'tag:NAME or a UUID' }),
    field('Ports', ports, { hint: 'Ports of servers in it that you want to reach; more can be published later.' }),
    h('div', { class: 'checks-row' }, keeps.element, network.element),
    h('details', null, h('summary', null, 'More options'), field('Environment', env, { hint: 'One per line.' })),
  ];
  return h(
    'div',
    null,
    pageHead('Open an instance', {
      crumbs: [['Instances', href(['instances'])]],
      about: 'The image itself never changes.',
    }),
    form(fields, {
      submit: 'Open',
      act,
      more: [h('a', { class: 'button plain', href: href(['instances']) }, 'Cancel')],
      class: 'panel',
    }),
  );
}
