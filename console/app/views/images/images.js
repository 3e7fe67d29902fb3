import { listImages } from '../../api/v1.js';
import { fill, h } from '../../kit/dom.js';
import { counted } from '../../kit/format.js';
import { button, buttonLink, checkbox, empty, pageHead, problem } from '../../kit/parts.js';
import { go, href } from '../../kit/route.js';
import { every, released } from '../../kit/scope.js';
import { forest, visibleRows } from './image-forest.js';
import { ImageTree } from './image-tree.js';

/**
 * @import { Route } from '../../kit/route.js'
 * @import { Scope } from '../../kit/scope.js'
 * @import { Image } from '../../../../src/contract/image.ts'
 */

const PAGE = 1_000;
const IMAGES_MAX = 10_000;
const REFRESH_MS = 3_000;
/** Number of newest images whose changes are noticed at once; changes of others when the page becomes visible again. */
const WATCHED = 100;

/**
 * @param {Route} route
 * @param {Scope} scope
 */
export async function images(route, scope) {
  let all = await everyImage(scope.signal);
  let newest = JSON.stringify(all.slice(0, WATCHED));
  const filter = h('input', {
    type: 'search',
    value: route.query.get('q') ?? '',
    placeholder: 'Tag, command or UUID',
    'aria-label': 'Filter images',
  });
  const tagged = checkbox('Tagged only', false, { onchange: () => draw() });
  const total = h('p', { class: 'muted', role: 'status' });
  const bar = h('div', { class: 'selection', role: 'status', hidden: true });
  const body = h('div', { class: 'tree-place' });
  const tree = new ImageTree({ onToggle: () => draw(), onSelect: (chosen) => drawSelection(bar, chosen, tree) });

  const draw = () => {
    const rows = visibleRows(forest(all), { text: filter.value, tagged: tagged.box.checked, closed: tree.closed });
    tree.show(rows);
    fill(total, all.length >= IMAGES_MAX ? `The newest ${counted(IMAGES_MAX, 'image')}` : counted(all.length, 'image'));
    if (all.length === 0) fill(body, firstImage());
    else if (rows.length === 0)
      fill(body, empty('No image matches', 'Try a shorter text, or include untagged images.'));
    else if (!body.contains(tree.element)) fill(body, tree.element);
  };
  filter.addEventListener('input', draw);
  every(
    scope,
    REFRESH_MS,
    async () => {
      const now = JSON.stringify(await listImages({ limit: WATCHED }, scope.signal));
      if (now === newest) return;
      all = await everyImage(scope.signal);
      newest = now;
      await released();
      draw();
    },
    (error) => fill(total, problem(error)),
  );
  queueMicrotask(draw);
  return h(
    'div',
    { class: 'fill' },
    pageHead('Images', {
      about: 'Every run that keeps its changes creates a child image. Select two images to compare them.',
      actions: [
        buttonLink('Build from a Dockerfile', href(['build'])),
        buttonLink('Import an image', href(['import']), { kind: 'primary', icon: 'plus' }),
      ],
    }),
    h('div', { class: 'toolbar' }, filter, tagged.element, total),
    bar,
    body,
  );
}

/**
 * @param {AbortSignal} signal
 * @returns {Promise<Image[]>}
 */
async function everyImage(signal) {
  /** @type {Image[]} */
  const all = [];
  while (all.length < IMAGES_MAX) {
    const page = await listImages({ limit: PAGE, offset: all.length }, signal);
    all.push(...page);
    if (page.length < PAGE) break;
  }
  return all;
}

function firstImage() {
  return empty(
    'No images yet',
    'Import one from a registry such as Docker Hub or from an archive on this machine, or build a Dockerfile.',
    [
      buttonLink('Import an image', href(['import']), { kind: 'primary' }),
      buttonLink('Build from a Dockerfile', href(['build'])),
    ],
  );
}

/**
 * @param {HTMLElement} bar
 * @param {readonly Image[]} chosen
 * @param {ImageTree} tree
 */
function drawSelection(bar, chosen, tree) {
  bar.hidden = chosen.length === 0;
  const [from, to] = chosen;
  const compare = () => go(href(['compare'], { from: from?.uuid, to: to?.uuid }));
  const clear = button('Clear', () => tree.clearSelection(), { kind: 'quiet' });
  /** @param {Image | undefined} image */
  const name = (image) => (image ? h('strong', null, image.tag ?? image.uuid.slice(0, 8)) : null);
  if (to) {
    fill(
      bar,
      h('span', null, 'From ', name(from), ' to ', name(to)),
      button('Compare', compare, { kind: 'primary' }),
      clear,
    );
  } else fill(bar, h('span', null, name(from), ' is selected. Select another image to compare it with.'), clear);
}
