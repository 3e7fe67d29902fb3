import { h } from '../../kit/dom.js';
import { bytes, count, duration, short } from '../../kit/format.js';
import { badge, bar, codeBlock, facts, panel } from '../../kit/parts.js';
import { href } from '../../kit/route.js';
import { cut, shown } from '../../kit/text.js';

/**
 * @import { ExecutionReport, OperationResponse, OperationInstanceMetadata, ImageImportMetadata } from '../../../../src/contract/operation.ts'
 * @import { Child } from '../../kit/dom.js'
 */

/**
 * Returns the panels about the request, outcome and resource usage of an operation.
 * @param {OperationResponse} operation
 */
export function details(operation) {
  const { metadata, execution } = operation;
  const run = 'command' in metadata ? metadata : undefined;
  return h(
    'div',
    { class: 'columns' },
    h('div', null, outcome(operation, run), execution && steps(execution)),
    h(
      'div',
      null,
      run ? request(run) : 'registry' in metadata && importRequest(metadata),
      execution && isolation(execution),
    ),
  );
}

/** @param {string | null} image */
function imageLink(image) {
  return image === null ? null : h('a', { href: href(['images', image]) }, h('code', null, short(image)));
}

/**
 * @param {OperationResponse} operation
 * @param {OperationInstanceMetadata | undefined} run
 */
function outcome(operation, run) {
  const { state, resources } = run?.result ?? {};
  const ended = state && !(state.exit_code === -1 && state.signal === -1 && !state.timed_out);
  return panel('Outcome', [
    facts([
      ['exit code', ended && state.exit_code >= 0 && badge(state.exit_code, state.exit_code === 0 ? 'good' : 'warn')],
      ['ended by', ended && state.signal > 0 && `signal ${state.signal}`],
      ['timed out', state?.timed_out && badge('yes', 'warn')],
      ['out of memory', state?.out_of_memory && badge('yes', 'bad')],
      ['image', imageLink(operation.image_uuid)],
      ['result', imageLink(operation.result_image_uuid)],
      ['tag', operation.result?.tag],
      ['duration', operation.duration > 0 && duration(operation.duration)],
      ['size of the result image', operation.image_size !== null && bytes(operation.image_size)],
      [
        'CPU time',
        resources && `${duration(resources.user_cpu_time)} user, ${duration(resources.system_cpu_time)} system`,
      ],
      ['peak memory', resources && resources.max_rss >= 0 && bytes(resources.max_rss * 1024)],
      ['page faults', resources && resources.page_faults >= 0 && count(resources.page_faults)],
      [
        'disk read, written',
        resources &&
          resources.block_input >= 0 &&
          `${bytes(resources.block_input * 512)}, ${bytes(resources.block_output * 512)}`,
      ],
    ]),
  ]);
}

/** @param {ExecutionReport} execution */
function steps({ steps_ms: steps }) {
  const entries = Object.entries(steps);
  const total = entries.reduce((sum, [, ms]) => sum + ms, 0);
  const rows = entries.map(([name, ms]) =>
    h(
      'tr',
      null,
      h('th', { scope: 'row' }, name),
      h('td', { class: 'number-cell' }, duration(ms / 1000)),
      h('td', { class: 'bar-cell' }, bar(ms, total)),
    ),
  );
  return panel('Time by phase', [h('table', { class: 'plain-table' }, h('tbody', null, rows))]);
}

/** @param {string} accelerator */
function accelerated(accelerator) {
  const native = accelerator === 'kvm';
  const hint = native ? 'Hardware virtualization' : 'Emulation: slower; isolation is provided by the jail';
  return badge(accelerator, native ? 'good' : 'neutral', hint);
}

/** @param {ExecutionReport} execution */
function isolation({ sandbox, accelerator, jail, network }) {
  return panel('Isolation and network', [
    facts([
      sandbox === 'gvisor'
        ? ['sandbox', badge('gVisor', 'good', 'A kernel in user space serves every system call')]
        : ['microVM', accelerated(accelerator)],
      [
        'jail',
        jail.parts.length > 0 &&
          h(
            'span',
            { class: 'badges' },
            jail.parts.map((part) => badge(part, 'good')),
          ),
      ],
      [
        'isolation missing',
        jail.missing.length > 0 &&
          h(
            'span',
            { class: 'badges' },
            jail.missing.map((part) => badge(part, 'warn')),
          ),
      ],
      ['received', network && bytes(network.rx_bytes)],
      ['sent', network && bytes(network.tx_bytes)],
      ['packets dropped', network && count(network.dropped)],
    ]),
  ]);
}

/** @param {OperationInstanceMetadata} run */
function request(run) {
  const env = Object.entries(run.env ?? {});
  const files = Object.keys(run.files ?? {});
  const { networking = {}, resources_limits: limits = {} } = run;
  /** @type {[string, Child][]} */
  const rows = [
    ['keeps its changes', run.disposable ? 'no' : 'yes'],
    ['shell', run.shell ? 'yes' : 'no'],
    ['working directory', run.cwd ? h('code', null, shown(run.cwd)) : null],
    ['user', run.uid || run.gid ? `${run.uid ?? 0}:${run.gid ?? 0}` : null],
    ['time limit', duration(run.timeout)],
    ['network', networking.mode ?? (networking.enabled === false ? 'none' : 'public')],
    ['allowed hosts', networking.allow?.join(', ')],
    ['processors', limits.cpus],
    ['memory', limits.memory_mib === undefined ? null : bytes(limits.memory_mib * 1024 * 1024)],
    ['injected files', files.length > 0 && h('span', null, shown(cut(files.join(', '), 500)))],
    ['injected directories', (run.directory_states?.length ?? 0) > 0 && String(run.directory_states?.length)],
  ];
  const command = [run.command, ...(run.args ?? [])].join(' ');
  const lines = env.map(([name, value]) => `${name}=${value ?? ''}`).join('\n');
  return panel('Request', [
    codeBlock(cut(command, 20_000), 'Command', { wrapped: true }),
    facts(rows),
    env.length > 0 && h('h3', null, 'Environment'),
    env.length > 0 && codeBlock(cut(lines, 20_000), 'Environment'),
  ]);
}

/** @param {ImageImportMetadata} metadata */
function importRequest({ registry, tag, timeout, build }) {
  if (build !== undefined) {
    const rows = /** @type {const} */ ([
      ['Dockerfile', h('code', null, shown(build.dockerfile))],
      ['stage', build.target && h('code', null, shown(build.target))],
      ['arguments', build.build_args.length > 0 && h('span', null, shown(cut(build.build_args.join(', '), 500)))],
      ['tag', tag],
      ['time limit of a step', duration(timeout)],
    ]);
    return panel('Request', [facts(rows)]);
  }
  return panel('Request', [
    facts([
      ['from', h('code', null, shown(registry.url))],
      ['account', registry.credentials?.username],
      ['tag', tag],
      ['time limit', duration(timeout)],
    ]),
  ]);
}
