import { callTool } from '../../api/mcp.js';
import { Fault } from '../../api/session.js';
import { fill, h } from '../../kit/dom.js';
import { duration } from '../../kit/format.js';
import { form } from '../../kit/form.js';
import { badge, button, pageHead, panel } from '../../kit/parts.js';
import { shown } from '../../kit/text.js';
import { argumentForm } from './argument-form.js';
import { schemaTable } from './schema-table.js';
import { toolResult } from './tool-result.js';

/**
 * @import { Scope } from '../../kit/scope.js'
 * @import { Tool } from '../../api/mcp.js'
 */

/** @type {Promise<string[]> | undefined} */
let known;

/**
 * Returns the names of tools that start a sandbox, from the server's tool `whoami`; empty where that tool is not
 * offered.
 * @returns {Promise<string[]>}
 */
export function costs() {
  known ??= callTool('whoami', {}).then(
    ({ structuredContent }) => /** @type {any} */ (structuredContent)?.costs?.vm ?? [],
    (error) => {
      known = undefined;
      if (error instanceof Fault) return [];
      throw error;
    },
  );
  return known;
}

/**
 * @param {Tool} definition
 * @param {Scope} scope
 */
export async function tool(definition, scope) {
  const { name, title, description = '', inputSchema, outputSchema } = definition;
  const about = [
    h('code', null, name),
    ' ',
    h('span', { class: 'badges inline' }, marks(definition, (await costs()).includes(name))),
  ];
  const output = h('div', { 'aria-live': 'polite' });
  const args = await argumentForm(inputSchema, scope);
  return h(
    'div',
    null,
    pageHead(title ?? name, { about }),
    h('p', { class: 'prose' }, shown(description)),
    panel('Try it', [tryForm(name, args, output, scope)]),
    output,
    panel('Arguments', [schemaTable(inputSchema, 'Arguments', 'This tool takes no arguments.')]),
    outputSchema && panel('Result', [schemaTable(outputSchema, 'Result', 'The result has no fields.')]),
  );
}

/**
 * @param {Tool} definition
 * @param {boolean} vm
 */
function marks({ annotations = {} }, vm) {
  const {
    readOnlyHint: reads,
    destructiveHint: destroys,
    idempotentHint: idempotent,
    openWorldHint: open,
  } = annotations;
  return [
    vm
      ? badge('starts a sandbox or downloads', 'warn', 'Takes seconds')
      : badge('free', 'good', 'Takes milliseconds; no sandbox is started'),
    reads
      ? badge('read-only', 'neutral')
      : badge(
          destroys ? 'may overwrite' : 'additive',
          destroys ? 'bad' : 'accent',
          destroys ? 'May make something unreachable by its name' : 'Adds something and changes nothing that exists',
        ),
    !reads &&
      idempotent &&
      badge('idempotent', 'neutral', 'Repeating the call with the same arguments has no further effect'),
    open && badge('open world', 'neutral', 'Interacts with systems beyond this server and its store'),
  ].filter((mark) => mark !== undefined && mark !== false);
}

/**
 * @param {string} name
 * @param {Awaited<ReturnType<typeof argumentForm>>} args
 * @param {HTMLElement} output
 * @param {Scope} scope
 */
function tryForm(name, args, output, scope) {
  /** @type {AbortController | undefined} */
  let current;
  const stop = button('Stop', () => current?.abort(), { kind: 'danger' });
  stop.hidden = true;
  const act = async () => {
    const given = args.read();
    current = new AbortController();
    const signal = AbortSignal.any([current.signal, scope.signal]);
    const startedMs = performance.now();
    const seconds = () => (performance.now() - startedMs) / 1000;
    const progress = h('p', { class: 'muted' }, 'Calling…');
    fill(output, progress);
    stop.hidden = false;
    try {
      const onProgress = ({ message = '' }) => fill(progress, shown(message));
      fill(output, toolResult(name, given, await callTool(name, given, { signal, onProgress }), seconds()));
    } catch (error) {
      fill(output, current.signal.aborted && h('p', { class: 'muted' }, `Stopped after ${duration(seconds())}.`));
      if (!signal.aborted) throw error;
    } finally {
      stop.hidden = true;
    }
  };
  return form([args.element], { submit: `Call ${name}`, act, more: [stop, args.toggle] });
}
