import { fill, h } from './dom.js';
import { problem } from './parts.js';

/** @import { Child } from './dom.js' */

/**
 * Returns a form with one action, triggered by its button, by Enter, and by Ctrl+Enter where Enter starts a new line.
 * While the action runs the button is disabled; errors are shown above it.
 * @param {Child[]} fields
 * @param {{ submit: string, act: () => Promise<void>, more?: Child[], class?: string }} options `more` stands beside the
 *   button
 */
export function form(fields, { submit, act, more = [], class: name = '' }) {
  const failure = h('div', { 'aria-live': 'polite' });
  const agree = h('button', { class: 'button primary' }, submit);
  const run = async () => {
    fill(failure);
    agree.disabled = true;
    try {
      await act();
    } catch (error) {
      fill(failure, problem(error));
    } finally {
      agree.disabled = false;
    }
  };
  const onsubmit = (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    void run();
  };
  const onkeydown = (/** @type {KeyboardEvent} */ event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey) && !agree.disabled) element.requestSubmit();
  };
  const actions = h('div', { class: 'actions' }, agree, more);
  const element = h('form', { class: `form ${name}`, onsubmit, onkeydown }, fields, failure, actions);
  return element;
}
