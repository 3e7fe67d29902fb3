import { discover, listPrompts, listResources, listTools } from '../../api/mcp.js';
import { h } from '../../kit/dom.js';
import { pageHead } from '../../kit/parts.js';
import { href } from '../../kit/route.js';
import { shown } from '../../kit/text.js';
import { guide } from './guide.js';
import { prompt } from './prompt.js';
import { resources } from './resources.js';
import { setup } from './setup.js';
import { costs, tool } from './tool.js';

/**
 * @import { Route } from '../../kit/route.js'
 * @import { Scope } from '../../kit/scope.js'
 * @import { Prompt, Resource, Tool } from '../../api/mcp.js'
 */

const GUIDE = 'contree://guide/';

/**
 * Shows the tool reference: what agents see of this server over MCP, with a form to try each tool. It is read from the
 * server itself.
 * @param {Route} route
 * @param {Scope} scope
 */
export async function tools({ path }, scope) {
  const [, part = 'setup', name = ''] = path;
  const [known, guides, prompts] = await Promise.all([listTools(), listResources(), listPrompts()]);
  const found = known.find((entry) => entry.name === part);
  const content = found ? await tool(found, scope) : await page(part, name, scope);
  return h(
    'div',
    { class: 'reference' },
    await index(known, guides, prompts, path.slice(1).join('/') || 'setup'),
    h('div', { class: 'reference-body' }, content),
  );
}

/**
 * @param {string} part
 * @param {string} name
 * @param {Scope} scope
 * @returns {Promise<Node>}
 */
async function page(part, name, scope) {
  if (part === 'setup') return setup();
  if (part === 'instructions') return instructions();
  if (part === 'resources') return resources();
  if (part === 'guides') return guide(`${GUIDE}${name}`);
  if (part === 'prompts') return prompt(name, scope);
  return pageHead('This server has no such tool', { about: 'Select one from the list.' });
}

async function instructions() {
  const { instructions: text = '', _meta } = await discover();
  const version = _meta?.['io.modelcontextprotocol/serverInfo']?.version;
  const about = 'Sent to every agent when it connects.';
  return h(
    'div',
    null,
    pageHead('Server instructions', { about: version ? `${about} Version ${version}.` : about }),
    h('div', { class: 'prose wrap' }, shown(text, { lines: true })),
  );
}

/**
 * @param {readonly Tool[]} known
 * @param {readonly Resource[]} guides
 * @param {readonly Prompt[]} prompts
 * @param {string} current
 */
async function index(known, guides, prompts, current) {
  const vm = await costs();
  /**
   * @param {string} address
   * @param {import('../../kit/dom.js').Child[]} label
   */
  const link = (address, label) =>
    h(
      'li',
      null,
      h('a', { href: href(['tools', ...address.split('/')]), 'aria-current': address === current && 'page' }, label),
    );
  /** @param {string} title @param {HTMLElement[]} links */
  const group = (title, links) =>
    links.length === 0 ? null : h('section', null, h('h2', null, title), h('ul', null, links));
  const filter = h('input', { type: 'search', placeholder: 'Filter tools', 'aria-label': 'Filter tools' });
  const entries = known.map(({ name, title = '' }) => ({
    text: `${name} ${title}`.toLowerCase(),
    element: link(name, [
      h('code', null, name),
      vm.includes(name) && h('span', { class: 'dot', title: 'Starts a sandbox or downloads' }),
    ]),
  }));
  filter.addEventListener('input', () => {
    for (const { text, element } of entries) element.hidden = !text.includes(filter.value.toLowerCase());
  });
  const start = [link('setup', ['Connect an agent']), link('instructions', ['Server instructions'])];
  const guideLinks = guides
    .filter(({ uri }) => uri.startsWith(GUIDE))
    .map(({ uri, title, name }) => link(`guides/${uri.slice(GUIDE.length)}`, [title ?? name]));
  // On a narrow page an open list would push the content out of sight.
  const open = matchMedia('(min-width: 901px)').matches;
  return h(
    'nav',
    { class: 'reference-index', 'aria-label': 'Tool reference' },
    h(
      'details',
      { open },
      h('summary', null, 'All tools, prompts and guides'),
      filter,
      group('Start', start),
      group(
        'Tools',
        entries.map(({ element }) => element),
      ),
      group(
        'Prompts',
        prompts.map(({ name }) => link(`prompts/${name}`, [h('code', null, name)])),
      ),
      group('Guides', guideLinks),
      group('Resources', [link('resources', ['Resource templates'])]),
    ),
  );
}
