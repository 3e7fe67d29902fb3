import { getPrompt, listPrompts } from '../../api/mcp.js';
import { fill, h } from '../../kit/dom.js';
import { form } from '../../kit/form.js';
import { codeBlock, field, pageHead, panel } from '../../kit/parts.js';
import { cut, shown } from '../../kit/text.js';

/** @import { Scope } from '../../kit/scope.js' */

const TEXT_CHARACTERS_MAX = 100_000;

/**
 * Shows a prompt: its arguments and the messages it produces from them.
 * @param {string} name
 * @param {Scope} _scope
 */
export async function prompt(name, _scope) {
  const found = (await listPrompts()).find((entry) => entry.name === name);
  if (!found) return pageHead('This server has no such prompt', { about: 'Select one from the list.' });
  const inputs = (found.arguments ?? []).map(({ name: key, description, required = false }) => {
    const element = h('input', { type: 'text', spellcheck: 'false' });
    return { key, element, field: field(key, element, { required, hint: description }) };
  });
  const output = h('div', { 'aria-live': 'polite' });
  const act = async () => {
    const given = inputs.filter(({ element }) => element.value !== '').map(({ key, element }) => [key, element.value]);
    const { messages } = await getPrompt(name, Object.fromEntries(given));
    const texts = messages.map(({ role, content }) =>
      panel(role, [codeBlock(cut(content.text ?? '', TEXT_CHARACTERS_MAX), 'Message', { wrapped: true })]),
    );
    fill(output, texts);
  };
  const fields = inputs.map((input) => input.field);
  return h(
    'div',
    null,
    pageHead(found.title ?? name, { about: h('code', null, name) }),
    h('p', { class: 'prose' }, shown(found.description ?? '')),
    panel('Try it', [form(fields, { submit: 'Get messages', act })]),
    output,
  );
}
