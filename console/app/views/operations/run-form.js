import { getOperation, listImages, spawn, whoami } from '../../api/v1.js';
import { h } from '../../kit/dom.js';
import { form } from '../../kit/form.js';
import { announce, checkbox, field, pageHead, select } from '../../kit/parts.js';
import { go, href } from '../../kit/route.js';
import { linesOf, pairsOf } from '../../kit/values.js';

/**
 * @import { Route } from '../../kit/route.js'
 * @import { Scope } from '../../kit/scope.js'
 * @import { InstanceSpawnRequest } from '../../../../src/contract/run.ts'
 * @import { OperationInstanceMetadata } from '../../../../src/contract/operation.ts'
 */

const TEXT = { type: 'text', spellcheck: 'false', autocomplete: 'off' };
const LINES = { spellcheck: 'false', class: 'mono' };
const TIMEOUT_SECONDS_DEFAULT = 60;

/**
 * Shows the form that runs a command: in an image (`image`), or again as in an earlier operation (`again`).
 * @param {Route} route
 * @param {Scope} scope
 */
export async function runForm({ query }, { signal }) {
  const again = query.get('again');
  const [before, images, { limits, permissions }] = await Promise.all([
    again === null ? undefined : getOperation(again, { output_bytes: 0 }, signal),
    listImages({ limit: 200 }, signal),
    whoami(signal),
  ]);
  const known = before && 'command' in before.metadata ? before.metadata : undefined;
  const names = images.flatMap(({ tags = [], uuid }) => (tags.length > 0 ? tags.map((tag) => `tag:${tag}`) : [uuid]));
  const choices = h(
    'datalist',
    { id: 'images' },
    names.map((name) => h('option', { value: name })),
  );
  const image =
    before?.image_uuid ?? query.get('image') ?? names.find((name) => name.startsWith('tag:')) ?? names[0] ?? '';
  const usual = usualControls(known, {
    image,
    keeps: permissions['spawn'] !== false,
    timeoutMax: limits['instance_max_timeout'],
  });
  const rare = rareControls(known);
  const act = async () => {
    const { uuid } = await spawn({ ...usual.read(), ...rare.read() });
    announce('Run queued.');
    go(href(['operations', uuid]));
  };
  const more = [h('a', { class: 'button plain', href: href(['operations']) }, 'Cancel')];
  const fields = [
    choices,
    ...usual.fields,
    h('details', { open: rare.used }, h('summary', null, 'More options'), rare.fields),
  ];
  return h(
    'div',
    null,
    pageHead('Run a command', {
      crumbs: [['Operations', href(['operations'])]],
      about: 'As root in a fresh sandbox. The image itself never changes.',
    }),
    form(fields, { submit: 'Run', act, more, class: 'panel' }),
  );
}

/**
 * Returns the fields that every run needs.
 * @param {OperationInstanceMetadata | undefined} known
 * @param {{ image: string, keeps: boolean, timeoutMax: number | undefined }} start
 */
function usualControls(known, start) {
  const image = h('input', { ...TEXT, list: 'images', value: start.image });
  const command = h('textarea', { ...LINES, rows: 4 }, known?.command);
  const shell = checkbox('Run in a shell', known?.shell ?? true, { hint: 'otherwise the command is a program' });
  const keeps = checkbox('Keep the changes as a new image', known ? known.disposable !== true : start.keeps);
  const timeout = h('input', {
    type: 'number',
    min: 1,
    max: start.timeoutMax,
    value: known?.timeout ?? TIMEOUT_SECONDS_DEFAULT,
  });
  const cwd = h('input', { ...TEXT, value: known?.cwd, placeholder: 'default of the image' });
  return {
    fields: [
      field('Image', image, { required: true, hint: 'tag:NAME or a UUID' }),
      field('Command', command, { required: true, hint: 'Press Ctrl+Enter to run it.' }),
      h('div', { class: 'checks-row' }, shell.element, keeps.element),
      h('div', { class: 'field-row' }, field('Time limit in seconds', timeout), field('Working directory', cwd)),
    ],
    read: () => ({
      image: image.value.trim(),
      command: command.value,
      shell: shell.box.checked,
      disposable: !keeps.box.checked,
      timeout: timeout.valueAsNumber || TIMEOUT_SECONDS_DEFAULT,
      ...(cwd.value !== '' && { cwd: cwd.value }),
    }),
  };
}

/** @type {readonly (readonly ['public' | 'none' | 'allowlist', string])[]} */
const NETWORKS = [
  ['public', 'The internet, but not your local network'],
  ['none', 'None'],
  ['allowlist', 'Only the allowed hosts'],
];

/** @type {readonly (readonly ['auto' | 'microvm' | 'gvisor', string])[]} */
const SANDBOXES = [
  ['auto', 'The best that works on the server'],
  ['microvm', 'microVM: a kernel of its own'],
  ['gvisor', 'gVisor'],
];

/**
 * Returns the fields that few runs need.
 * @param {OperationInstanceMetadata | undefined} known
 */
function rareControls(known) {
  const { args = [], env, sandbox: chosen, networking = {}, resources_limits: limits = {} } = known ?? {};
  const argument = h('textarea', { ...LINES, rows: 2 }, args.join('\n'));
  const environment = h('textarea', { ...LINES, rows: 3, placeholder: 'NAME=value' });
  const stdin = h('textarea', { ...LINES, rows: 3 });
  const network = select(NETWORKS, networking.mode ?? 'public');
  const allow = h('textarea', { ...LINES, rows: 2, placeholder: '*.example.org' }, (networking.allow ?? []).join('\n'));
  const sandbox = select([['', 'Default of the server'], ...SANDBOXES], chosen ?? '');
  const cpus = h('input', { type: 'number', min: 1, value: limits.cpus });
  const memory = h('input', { type: 'number', min: 1, value: limits.memory_mib });
  const masked = Object.keys(env ?? {}).length > 0;
  const envHint = masked
    ? 'The earlier values are not filled in because secrets among them were masked.'
    : 'One per line.';
  /** @returns {Partial<InstanceSpawnRequest>} */
  const read = () => {
    const mode = NETWORKS.find(([name]) => name === network.value)?.[0] ?? 'public';
    const kind = SANDBOXES.find(([name]) => name === sandbox.value)?.[0];
    const resources = {
      ...(cpus.value !== '' && { cpus: cpus.valueAsNumber }),
      ...(memory.value !== '' && { memory_mib: memory.valueAsNumber }),
    };
    return {
      networking: { mode, ...(mode === 'allowlist' && { allow: linesOf(allow.value) }) },
      ...(kind !== undefined && { sandbox: kind }),
      ...(argument.value.trim() !== '' && { args: linesOf(argument.value) }),
      ...(environment.value.trim() !== '' && { env: pairsOf(environment.value) }),
      ...(stdin.value !== '' && { stdin: { value: stdin.value } }),
      ...(Object.keys(resources).length > 0 && { resources_limits: resources }),
    };
  };
  return {
    used: args.length > 0 || masked || chosen !== undefined || networking.mode === 'allowlist',
    fields: [
      field('Network', network),
      field('Allowed hosts', allow, { hint: 'One per line: host names, *.domains, addresses or CIDR blocks.' }),
      field('Sandbox', sandbox),
      field('Arguments', argument, { hint: 'One per line; for a program without a shell.' }),
      field('Environment', environment, { hint: envHint }),
      field('Standard input', stdin),
      h('div', { class: 'field-row' }, field('CPUs', cpus), field('Memory in MiB', memory)),
    ],
    read,
  };
}
