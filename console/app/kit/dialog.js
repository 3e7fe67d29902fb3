import { h } from './dom.js';
import { button, field } from './parts.js';

/** @import { Child } from './dom.js' */

/**
 * Shows a modal dialog and waits for its end. The browser keeps the focus inside, closes it on Escape and gives the focus
 * back.
 * @param {string} title
 * @param {Child[]} body
 * @param {{ confirm: string, danger?: boolean }} options what the button says
 * @returns {Promise<boolean>} whether the user agreed
 */
export function ask(title, body, { confirm, danger = false }) {
  return new Promise((resolve) => {
    let agreed = false;
    const heading = h('h2', { id: 'dialog-title' }, title);
    const agree = h('button', { class: `button ${danger ? 'danger' : 'primary'}` }, confirm);
    const cancel = button('Cancel', () => dialog.close());
    const onsubmit = (/** @type {SubmitEvent} */ event) => {
      event.preventDefault();
      agreed = true;
      dialog.close();
    };
    const form = h('form', { onsubmit }, heading, body, h('div', { class: 'actions' }, cancel, agree));
    const dialog = h('dialog', { 'aria-labelledby': 'dialog-title' }, form);
    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve(agreed);
    });
    document.body.append(dialog);
    dialog.showModal();
    // The focus starts on Cancel for an irreversible action, so that an early Enter does no harm.
    if (danger) cancel.focus();
  });
}

/**
 * @param {string} title
 * @param {string} label
 * @param {{ confirm: string, value?: string, secret?: boolean, hint?: Child, before?: Child[], list?: string[],
 *   optional?: boolean }} options `optional` lets the text be empty
 * @returns {Promise<string | undefined>} undefined when the user turned away
 */
export async function askText(
  title,
  label,
  { confirm, value = '', secret = false, hint, before = [], list = [], optional = false },
) {
  const props = {
    type: secret ? 'password' : 'text',
    value,
    autocomplete: 'off',
    spellcheck: 'false',
    autofocus: true,
  };
  const choices = h(
    'datalist',
    { id: 'dialog-choices' },
    list.map((entry) => h('option', { value: entry })),
  );
  const input = h('input', { ...props, list: list.length > 0 && choices.id });
  const agreed = await ask(title, [...before, field(label, input, { hint, required: !optional }), choices], {
    confirm,
  });
  return agreed ? input.value.trim() : undefined;
}
