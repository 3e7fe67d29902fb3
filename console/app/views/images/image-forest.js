/**
 * @import { Image } from '../../../../src/contract/image.ts'
 * @typedef {{ readonly image: Image, readonly children: Node[] }} Node
 * @typedef {object} TreeRow
 * @property {Image} image
 * @property {number} depth from 0
 * @property {number} position among its siblings, from 1
 * @property {number} siblings how many there are, itself included
 * @property {number} children how many are made from it
 * @property {boolean} open
 */

/**
 * Arranges images below their parents. Images whose parent is not in the list are roots, newest first; children are in
 * the order in which they were created.
 * @param {readonly Image[]} images newest first
 * @returns {Node[]}
 */
export function forest(images) {
  /** @type {Map<string, Node>} */
  const nodes = new Map(images.map((image) => [image.uuid, { image, children: [] }]));
  /** @type {Node[]} */
  const roots = [];
  for (const node of nodes.values()) {
    const parent = nodes.get(node.image.parent_uuid ?? '');
    if (parent) parent.children.unshift(node);
    else roots.push(node);
  }
  return roots;
}

/**
 * Returns the visible rows: the images that match the filter, with their ancestors and without children of closed rows.
 * It does not recurse: a chain may be as long as there are images.
 * @param {readonly Node[]} roots
 * @param {{ text: string, tagged: boolean, closed: ReadonlySet<string> }} filter
 * @returns {TreeRow[]}
 */
export function visibleRows(roots, { text, tagged, closed }) {
  const filtered = text.trim() !== '' || tagged;
  const kept = filtered ? keptNodes(roots, text.trim().toLowerCase(), tagged) : undefined;
  /** @param {readonly Node[]} nodes */
  const left = (nodes) => (kept ? nodes.filter((node) => kept.has(node)) : nodes);
  /** @type {TreeRow[]} */
  const rows = [];
  /** @type {{ nodes: readonly Node[], at: number }[]} */
  const stack = [{ nodes: left(roots), at: 0 }];
  for (let level = stack.at(-1); level; level = stack.at(-1)) {
    const node = level.nodes[level.at];
    if (!node) {
      stack.pop();
      continue;
    }
    level.at += 1;
    const children = left(node.children);
    const open = filtered || !closed.has(node.image.uuid);
    rows.push({
      image: node.image,
      depth: stack.length - 1,
      position: level.at,
      siblings: level.nodes.length,
      children: children.length,
      open,
    });
    if (open && children.length > 0) stack.push({ nodes: children, at: 0 });
  }
  return rows;
}

/**
 * @param {readonly Node[]} roots
 * @param {string} text
 * @param {boolean} tagged
 * @returns {Set<Node>} what matches, and everything above it
 */
function keptNodes(roots, text, tagged) {
  /** @type {Set<Node>} */
  const kept = new Set();
  /** @type {{ node: Node, parent: Node | undefined }[]} */
  const order = roots.map((node) => ({ node, parent: undefined }));
  for (const entry of order) order.push(...entry.node.children.map((node) => ({ node, parent: entry.node })));
  // From the leaves up: an ancestor of a match is kept.
  for (const { node, parent } of order.toReversed()) {
    if (matches(node.image, text, tagged)) kept.add(node);
    if (parent && kept.has(node)) kept.add(parent);
  }
  return kept;
}

/**
 * @param {Image} image
 * @param {string} text in lower case
 * @param {boolean} tagged
 */
function matches({ uuid, tags = [], command }, text, tagged) {
  if (tagged && tags.length === 0) return false;
  return (
    uuid.startsWith(text) || tags.some((tag) => tag.includes(text)) || (command ?? '').toLowerCase().includes(text)
  );
}
