import { readResource } from '../../api/mcp.js';
import { h } from '../../kit/dom.js';
import { markdown } from '../../kit/markdown.js';
import { codeBlock, table } from '../../kit/parts.js';

/**
 * Shows a guide of the server as agents read it.
 * @param {string} uri
 */
export async function guide(uri) {
  const { contents } = await readResource(uri);
  const [title, ...blocks] = markdown(contents[0]?.text ?? '');
  const heading = title?.kind === 'heading' ? title.text : uri;
  return h('article', { class: 'prose' }, h('h1', { tabindex: -1 }, inline(heading)), blocks.map(block));
}

/** @param {import('../../kit/markdown.js').Block} block */
function block(block) {
  switch (block.kind) {
    case 'heading':
      return h(block.level <= 2 ? 'h2' : 'h3', null, inline(block.text));
    case 'code':
      return codeBlock(block.text, 'Example');
    case 'list':
      return h(
        block.ordered ? 'ol' : 'ul',
        null,
        block.items.map((item) => h('li', null, inline(item))),
      );
    case 'table': {
      const [head = [], ...rows] = block.rows;
      const body = rows.map((row) =>
        h(
          'tr',
          null,
          row.map((cell) => h('td', null, inline(cell))),
        ),
      );
      return table(
        head.join(', '),
        head.map((cell) => [cell]),
        body,
      );
    }
    default:
      return h('p', null, inline(block.text));
  }
}

/**
 * @param {string} text
 * @returns {(string | HTMLElement)[]}
 */
function inline(text) {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*)/u).map((part) => {
    if (part.startsWith('`')) return h('code', null, part.slice(1, -1));
    return part.startsWith('**') ? h('strong', null, part.slice(2, -2)) : part;
  });
}
