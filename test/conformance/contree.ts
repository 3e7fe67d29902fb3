import assert from 'node:assert/strict';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import type { ConTree } from '../../src/contract/contree.ts';
import { fault, type ErrorCode } from '../../src/contract/errors.ts';
import type { OperationEvent } from '../../src/contract/event.ts';
import { EMPTY_IMAGE_CONFIG } from '../../src/contract/image.ts';
import type { InstanceSpawnRequest } from '../../src/contract/run.ts';
import type { Importer } from '../../src/images/import/importer.ts';
import type { Pusher } from '../../src/images/export/push.ts';
import { rootLayer, run, stdoutOf } from '../engine/bench.ts';
import { faults, NOWHERE } from './faults.ts';
import { instancePorts } from './instance-ports.ts';
import { instanceEnds, instances, snapshots } from './instances.ts';
import { reuse } from './reuse.ts';

/** A ConTree over a store with one root image, however it is reached. */
export interface ContreeUnderTest extends AsyncDisposable {
  readonly contree: ConTree;
  /** UUID of an image made by `addRoot`. */
  readonly base: string;
  /** Project that it sees; absent for the default one. */
  readonly project?: string;
}

/**
 * Importer of the engine under test: imports a root image; `missing` is in no registry; an archive is its own content.
 */
export const IMPORTER: Importer = {
  fromRegistry: async ({ url }, { store, progress }) => {
    if (url.includes('missing')) throw new Error('a bug, of which nobody must learn more than an incident');
    progress(`fetching ${url}`);
    return { layers: [(await rootLayer(store, url)).digest], config: EMPTY_IMAGE_CONFIG };
  },
  fromArchive: async ({ file }, { store }) => {
    const { sha256 } = store.files.get(file);
    return { layers: [(await rootLayer(store, sha256)).digest], config: EMPTY_IMAGE_CONFIG };
  },
};

/** Pusher that accepts everything except `denied`. */
export const PUSHER: Pusher = async (_image, { registry }) => {
  if (registry.url.includes('denied')) throw fault('REGISTRY_DENIED', { registry: 'r.example', status: 403 });
  return { reference: registry.url, digest: `sha256:${'0'.repeat(64)}` };
};

async function* bytes(...parts: (string | Uint8Array)[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) yield Buffer.from(part);
}

/** Waits until the main process of a run has been started. */
async function spawned(contree: ConTree, uuid: string): Promise<void> {
  for await (const { type } of contree.operations.events(uuid, { follow: true })) if (type === 'spawn') return;
}

/**
 * Requirements for every implementation of `ConTree`, the engine itself or a client of one: same results, same faults.
 * The engine behind it has `IMPORTER` and the fake driver.
 */
export function testContree(name: string, open: () => Promise<ContreeUnderTest>): void {
  const contreeTest = (title: string, body: (way: ContreeUnderTest) => Promise<void>): void => {
    test(`${name}: ${title}`, { timeout: 60_000 }, async () => {
      await using way = await open();
      await body(way);
    });
  };

  contreeTest('images, tags, lineage, diff, deletion', images);
  contreeTest('inspection', inspection);
  contreeTest('uploads, directory states and files in runs', uploads);
  contreeTest('imports', imports);
  contreeTest('pushes', pushes);
  contreeTest('results of runs', results);
  contreeTest('reuse of recorded results', reuse);
  contreeTest('logs: replayed, resumed, followed', logs);
  contreeTest('processes of a running instance', processes);
  contreeTest('instances that stay', instances);
  contreeTest('snapshots of instances that go on', snapshots);
  contreeTest('ends of instances that stay', instanceEnds);
  contreeTest('ports of instances that stay', instancePorts);
  contreeTest('cancelling, and an abort that ends only the waiting', cancelling);
  contreeTest('lists: filters and pages', lists);
  contreeTest('whoami, gc, doctor', about);
}

async function images({ contree, base }: ContreeUnderTest): Promise<void> {
  assert.equal((await contree.tags.set(base, { tag: 'common/base:1' })).tag, 'common/base:1');
  assert.equal((await contree.tags.set('tag:common/base:1', { tag: 'two' })).tag, 'two');
  const [listed] = await contree.images.list({ tag: 'common/', limit: 5, tagged: true });
  assert.deepEqual([listed?.uuid, listed?.tag, listed?.tags], [base, 'common/base:1', ['two', 'common/base:1']]);
  assert.equal((await contree.images.get('tag:common/base:1')).uuid, base, 'an earlier tag stays');
  await assert.rejects(contree.images.delete('tag:common/base:1'), /its other tag two$/mu);
  await contree.tags.remove(base, { tag: 'two' });
  await assert.rejects(contree.tags.remove(base, { tag: 'two' }), faults('TAG_NOT_FOUND'));
  await assert.rejects(contree.tags.set(base, { tag: 'No Tag' }), faults('TAG_INVALID'));
  await assert.rejects(contree.tags.set(NOWHERE, { tag: 'tag' }), faults('IMAGE_NOT_FOUND'));
  for (const image of ['tag:nobody', NOWHERE])
    await assert.rejects(contree.images.get(image), faults('IMAGE_NOT_FOUND'));
  const { result_image_uuid: child } = await run(contree, { command: 'echo x > /new', shell: true, image: base });
  assert.ok(child);
  const lineage = await contree.images.lineage(child);
  assert.deepEqual([lineage.root, lineage.ancestors.map(({ uuid }) => uuid)], [base, [base]]);
  assert.deepEqual([lineage.image.command, lineage.image.exit_code], ['echo x > /new', 0]);
  assert.deepEqual(
    (await contree.images.lineage(base)).children.map(({ uuid }) => uuid),
    [child],
  );
  const diff = await contree.images.diff(base, { to: child, patch: true });
  assert.deepEqual(
    diff.entries.map(({ path, change }) => [path, change]),
    [['/new', 'added']],
  );
  for (const image of [base, 'tag:common/base:1'])
    await assert.rejects(contree.images.delete(image), faults('IMAGE_IN_USE'));
  await assert.rejects(contree.images.delete('tag:nobody'), faults('IMAGE_NOT_FOUND'));
  assert.deepEqual(await contree.images.delete(base, { cascade: true }), [child, base]);
  await assert.rejects(contree.tags.remove(base), faults('IMAGE_NOT_FOUND'));
}

async function inspection({ contree, base }: ContreeUnderTest): Promise<void> {
  const { files } = await contree.files.list(base, { path: '/' });
  assert.deepEqual(
    files.map(({ path, is_dir, is_symlink }) => [path, is_dir, is_symlink]),
    [
      ['bin', false, true],
      ['etc', true, false],
      ['root', true, false],
      ['usr', true, false],
    ],
  );
  const part = await contree.files.list(base, { path: '/', offset: 1, limit: 2 });
  assert.deepEqual([part.files.map(({ path }) => path), part.total], [['etc', 'root'], 4]);
  assert.equal((await contree.files.stat(base, { path: '/bin' })).symlink_to, 'usr/bin');
  const { size, path, mode, mtime } = await contree.files.stat(base, { path: '/etc/passwd' });
  assert.deepEqual([path, mode, mtime], ['/etc/passwd', 0o100644, 1_700_000_000]);
  const read = async (offset?: number, length?: number): Promise<[number, string]> => {
    const range = { ...(offset !== undefined && { offset }), ...(length !== undefined && { length }) };
    const file = await contree.files.read(base, { path: '/etc/passwd', ...range });
    return [file.size, await text(file.body)];
  };
  const content = 'root:x:0:0:root:/root:/bin/sh\n# base\n';
  assert.deepEqual(await read(), [size, content]);
  assert.deepEqual(await read(5, 3), [size, 'x:0']);
  assert.deepEqual(await read(size + 5), [size, '']);
  assert.deepEqual(await read(0, 0), [size, '']);
  const tar = Buffer.concat(await Array.fromAsync(await contree.files.archive(base, { path: '/etc' })));
  assert.ok(tar.length % 512 === 0 && tar.includes('etc/passwd') && tar.includes(content));
  const layout = Buffer.concat(await Array.fromAsync(await contree.images.export(base)));
  assert.ok(layout.includes('oci-layout'));
  const grep = await contree.files.grep(base, { pattern: ['^root', '^# '], path: ['/etc'], max_total: 5 });
  assert.deepEqual(
    grep.matches.map(({ line_number, type }) => [line_number, type]),
    [
      [1, 'match'],
      [2, 'match'],
    ],
  );
  assert.deepEqual((await contree.files.grep(base, { pattern: ['nothing like it'] })).matches, []);
  const wrong: [() => Promise<unknown>, ErrorCode][] = [
    [() => contree.files.list(base, { path: '/etc/passwd' }), 'NOT_A_DIRECTORY'],
    [() => contree.files.list(base, { path: '/nope' }), 'FILE_NOT_FOUND'],
    [() => contree.files.list(NOWHERE, { path: '/' }), 'IMAGE_NOT_FOUND'],
    [() => contree.files.stat(base, { path: '/etc/nope' }), 'FILE_NOT_FOUND'],
    [() => contree.files.read(base, { path: '/etc' }), 'NOT_A_FILE'],
    [() => contree.files.archive(base, { path: '/nope' }), 'FILE_NOT_FOUND'],
    [() => contree.files.grep(base, { pattern: ['('] }), 'PATTERN_INVALID'],
    [() => contree.images.diff(base, { to: NOWHERE }), 'IMAGE_NOT_FOUND'],
  ];
  for (const [call, code] of wrong) await assert.rejects(call(), faults(code));
}

async function uploads({ contree, base }: ContreeUnderTest): Promise<void> {
  const file = await contree.uploads.create(bytes('hel', 'lo'));
  assert.equal(file.size, 5);
  for (const id of [file.sha256, file.uuid]) assert.equal((await contree.uploads.get(id)).uuid, file.uuid);
  const [same, empty, other] = await contree.uploads.createMany(bytes('hello', '', 'other'));
  assert.deepEqual([same?.uuid, empty?.size, other?.size], [file.uuid, 0, 5], 'in their order, the same content once');
  assert.equal((await contree.uploads.list({ limit: 10 })).length, 3);
  await assert.rejects(contree.uploads.get('0'.repeat(64)), faults('UPLOAD_NOT_FOUND'));
  const entries = [
    { path: '/work/a', mode: 0o640, sha256: file.sha256 },
    { path: '/work/link', mode: 0o777, symlink_to: 'a' },
  ];
  const { state, missing } = await contree.uploads.offerDirectory({ entries });
  assert.deepEqual([state?.entries, state?.bytes, missing], [2, 5, []]);
  assert.equal((await contree.uploads.offerDirectory({ entries: entries.toReversed() })).state?.id, state?.id);
  const absent = { path: '/work/b', mode: 0o644, sha256: 'f'.repeat(64) };
  assert.deepEqual(await contree.uploads.offerDirectory({ entries: [absent] }), { missing: ['f'.repeat(64)] });
  await assert.rejects(
    contree.uploads.offerDirectory({ entries: [{ path: '../x', mode: 0o644 }] }),
    faults('PATH_INVALID'),
  );
  const request = {
    command: 'true',
    image: base,
    directory_states: [state!.id],
    files: { '/etc/b': { uuid: other!.uuid, mode: '0o100600' } },
  };
  const { result_image_uuid: child } = await run(contree, request);
  const link = await contree.files.read(child!, { path: '/work/link' });
  assert.equal(await text(link.body), 'hello');
  const { mode, size } = await contree.files.stat(child!, { path: '/etc/b' });
  assert.deepEqual([mode, size], [0o100600, 5]);
  const unknown = { command: 'true', image: base, files: { '/x': { uuid: NOWHERE } } };
  await assert.rejects(contree.runs.start(unknown), faults('UPLOAD_NOT_FOUND'));
  const stateless = { command: 'true', image: base, directory_states: [NOWHERE] };
  await assert.rejects(contree.runs.start(stateless), faults('DIRECTORY_STATE_NOT_FOUND'));
}

async function imports({ contree }: ContreeUnderTest): Promise<void> {
  const good = await contree.images.import({ registry: { url: 'docker://r.example/a:1' }, tag: 'imported' });
  const events = await Array.fromAsync(contree.operations.events(good.uuid, { follow: true }));
  const last = events.at(-1);
  assert.ok(last?.type === 'completion' && last.data.status === 'SUCCESS');
  const operation = await contree.operations.get(good.uuid);
  assert.deepEqual([operation.kind, operation.status, operation.result?.tag], ['image_import', 'SUCCESS', 'imported']);
  assert.equal(last.data.result_image_uuid, operation.result?.image);
  assert.equal((await contree.images.get('tag:imported')).operation_uuid, good.uuid);
  const bad = await contree.images.import({ registry: { url: 'missing' } });
  const end = (await Array.fromAsync(contree.operations.events(bad.uuid, { follow: true }))).at(-1);
  assert.ok(end?.type === 'completion' && end.data.status === 'FAILED');
  const { error, error_code: code } = await contree.operations.get(bad.uuid);
  assert.match(error ?? '', /^internal error \(incident [0-9a-f-]{36}\)$/u);
  assert.equal(code, 'INTERNAL');
  const { uuid: file } = await contree.uploads.create(bytes('an archive'));
  const archive = await contree.images.importArchive({ file, name: 'a.tar', tag: 'archived' });
  await Array.fromAsync(contree.operations.events(archive.uuid, { follow: true }));
  assert.equal((await contree.images.get('tag:archived')).operation_uuid, archive.uuid);
  await assert.rejects(contree.images.importArchive({ file: NOWHERE }), faults('UPLOAD_NOT_FOUND'));
  const wrongTag = contree.images.import({ registry: { url: 'a' }, tag: 'No Tag' });
  await assert.rejects(wrongTag, faults('TAG_INVALID'));
}

async function pushes({ contree, base }: ContreeUnderTest): Promise<void> {
  const url = 'docker://r.example/a:1';
  const events = await Array.fromAsync(contree.images.push(base, { registry: { url } }));
  assert.equal(events.at(-1)?.type, 'pushed');
  const denied = async (): Promise<unknown> =>
    Array.fromAsync(contree.images.push(base, { registry: { url: 'docker://r.example/denied:1' } }));
  await assert.rejects(denied(), faults('REGISTRY_DENIED'));
  await assert.rejects(Array.fromAsync(contree.images.push(NOWHERE, { registry: { url } })), faults('IMAGE_NOT_FOUND'));
}

async function results({ contree, base }: ContreeUnderTest): Promise<void> {
  const failing = await run(contree, { command: 'echo out; echo err >&2; false', shell: true, image: base });
  assert.deepEqual([failing.status, failing.error, failing.kind], ['SUCCESS', null, 'instance']);
  assert.ok('command' in failing.metadata);
  const { result } = failing.metadata;
  assert.deepEqual([result.state?.exit_code, result.state?.signal, result.state?.timed_out], [1, -1, false]);
  assert.deepEqual([result.stdout?.value, result.stderr?.value], ['out\n', 'err\n']);
  assert.equal(failing.result?.image, base, 'what changed nothing gives the image itself');
  assert.ok(failing.duration >= 0 && Number.isInteger(result.resources?.max_rss));
  const binary = await run(contree, { command: "printf '\\377\\000'", shell: true, image: base, disposable: true });
  assert.ok('command' in binary.metadata);
  assert.deepEqual(binary.metadata.result.stdout, { value: '/wA=', encoding: 'base64', truncated: false });
  assert.equal(binary.result?.image, null, 'a disposable run keeps nothing');
  const cut = await run(contree, { command: 'flood', args: ['100'], image: base, truncate_output_at: 50 });
  assert.deepEqual(
    [stdoutOf(cut).length, 'command' in cut.metadata && cut.metadata.result.stdout?.truncated],
    [50, true],
  );
  const { metadata: ends } = await contree.operations.get(cut.uuid, { output_bytes: 3 });
  assert.equal('command' in ends && ends.result.stdout?.tail?.value, 'xxx');
  const slow = await run(contree, { command: 'sleep', args: ['30'], image: base, timeout: 1 });
  assert.equal(slow.status, 'SUCCESS');
  assert.equal('command' in slow.metadata && slow.metadata.result.state?.timed_out, true);
  const lost = await run(contree, { command: 'crash', image: base });
  assert.deepEqual([lost.status, lost.error_code, lost.result?.image], ['FAILED', 'GUEST_LOST', null]);
  const input = { command: 'cat', image: base, env: { A: 'b' }, stdin: { value: 'aGk=', encoding: 'base64' as const } };
  assert.equal(stdoutOf(await run(contree, input)), 'hi');
  const wrong: [Partial<InstanceSpawnRequest>, ErrorCode][] = [
    [{ image: 'tag:nobody' }, 'IMAGE_NOT_FOUND'],
    [{ cwd: 'relative' }, 'PATH_INVALID'],
    [{ command: '' }, 'ARGUMENT_INVALID'],
    [{ env: { 'A=B': 'c' } }, 'ARGUMENT_INVALID'],
  ];
  for (const [change, code] of wrong) {
    await assert.rejects(contree.runs.start({ command: 'true', image: base, ...change }), faults(code));
  }
}

async function logs({ contree, base }: ContreeUnderTest): Promise<void> {
  const request = { command: 'cat', image: base, stdin: { value: 'a', close: false } };
  const { uuid } = await contree.runs.start(request);
  const live: OperationEvent[] = [];
  for await (const event of contree.operations.events(uuid, { follow: true })) {
    live.push(event);
    if (event.type === 'stdout' && event.data.value === 'a') {
      await contree.processes.write(uuid, 1, { value: 'b', close: true });
    }
  }
  assert.deepEqual(
    live.map(({ id }) => id),
    live.map((_, index) => index),
    'ids from 0, without gaps',
  );
  const types = live.map(({ type, spid }) => `${spid} ${type}`);
  for (const type of ['0 init', '1 spawn', '1 stdout', '1 exit', '0 network', '0 shutdown']) {
    assert.ok(types.includes(type), `${type} of ${types.join()}`);
  }
  assert.equal(types.at(-1), 'undefined completion');
  assert.ok(types.indexOf('1 exit') < types.length - 1);
  assert.deepEqual(await Array.fromAsync(contree.operations.events(uuid, {})), live, 'replayed as it was');
  assert.deepEqual(await Array.fromAsync(contree.operations.events(uuid, { since: 2, follow: true })), live.slice(3));
  assert.deepEqual(await Array.fromAsync(contree.operations.events(uuid, { since: -1 })), live);
  const mine = live.filter(({ spid }) => spid === 1);
  assert.deepEqual(await Array.fromAsync(contree.operations.events(uuid, { spid: 1, follow: true })), mine);
  await assert.rejects(
    async () => Array.fromAsync(contree.operations.events(NOWHERE, { follow: true })),
    faults('OPERATION_NOT_FOUND'),
  );
}

async function processes({ contree, base }: ContreeUnderTest): Promise<void> {
  const { uuid } = await contree.runs.start({ command: 'cat', image: base, stdin: { value: '', close: false } });
  await spawned(contree, uuid);
  assert.deepEqual((await contree.processes.get(uuid, 1)).state?.exit_code, -1, 'still running');
  const { spid } = await contree.processes.start(uuid, { command: 'echo', args: ['second'] });
  assert.equal(spid, 2);
  for await (const { type } of contree.operations.events(uuid, { follow: true, spid })) if (type === 'exit') break;
  const second = await contree.processes.get(uuid, spid);
  assert.deepEqual([second.state?.exit_code, second.state?.signal, second.stdout?.value], [0, -1, 'second\n']);
  const third = await contree.processes.start(uuid, { command: 'sleep', args: ['30'] });
  await contree.processes.kill(uuid, third.spid, { signal: 'KILL' });
  for await (const { type } of contree.operations.events(uuid, { follow: true, spid: third.spid }))
    if (type === 'exit') break;
  const killed = await contree.processes.get(uuid, third.spid);
  assert.deepEqual([killed.state?.exit_code, killed.state?.signal], [-1, 9]);
  await assert.rejects(contree.processes.get(uuid, 99), faults('SUBPROCESS_NOT_FOUND'));
  await assert.rejects(contree.processes.kill(uuid, 1, { signal: 'NOSUCH' }), faults('ARGUMENT_INVALID'));
  await contree.processes.kill(uuid, 1);
  const end = (await Array.fromAsync(contree.operations.events(uuid, { follow: true }))).at(-1);
  assert.ok(end?.type === 'completion' && end.data.status === 'SUCCESS', 'a signalled main process is a result');
  assert.equal(end.data.result_image_uuid, base);
  await assert.rejects(contree.processes.start(uuid, { command: 'true' }), faults('INSTANCE_NOT_RUNNING'));
  await assert.rejects(contree.processes.write(uuid, 1, { value: 'x' }), faults('INSTANCE_FINISHED'));
  await assert.rejects(contree.processes.start(NOWHERE, { command: 'true' }), faults('OPERATION_NOT_FOUND'));
}

async function cancelling({ contree, base }: ContreeUnderTest): Promise<void> {
  const { uuid } = await contree.runs.start({ command: 'sleep', args: ['30'], image: base });
  await spawned(contree, uuid);
  const stop = new AbortController();
  const waiting = async (): Promise<void> => {
    for await (const { type } of contree.operations.events(uuid, { follow: true }, stop.signal))
      if (type === 'spawn') setImmediate(() => stop.abort(new Error('enough')));
  };
  await assert.rejects(waiting(), /enough/u);
  assert.equal((await contree.operations.get(uuid)).status, 'EXECUTING', 'only the waiting ended');
  await contree.operations.cancel(uuid);
  const end = (await Array.fromAsync(contree.operations.events(uuid, { follow: true }))).at(-1);
  assert.ok(end?.type === 'completion' && end.data.status === 'CANCELLED');
  assert.deepEqual((await contree.operations.get(uuid)).result, { image: null, tag: null });
  await assert.rejects(contree.operations.cancel(uuid), faults('OPERATION_FINISHED'));
  await assert.rejects(contree.operations.cancel(NOWHERE), faults('OPERATION_NOT_FOUND'));
  const early = await contree.runs.start({ command: 'sleep', args: ['30'], image: base });
  await contree.operations.cancel(early.uuid);
  const log = await Array.fromAsync(contree.operations.events(early.uuid, { follow: true }));
  assert.equal(log.at(-1)?.type, 'completion', 'cancelled before it began');
  const aborted = AbortSignal.abort(new Error('too late'));
  await assert.rejects(Array.fromAsync(contree.operations.events(uuid, { follow: true }, aborted)), /too late/u);
}

async function lists({ contree, base }: ContreeUnderTest): Promise<void> {
  for (const name of ['a', 'a/b', 'a/c']) await contree.tags.set(base, { tag: name });
  const before = new Date(Date.now() - 60_000);
  const later = new Date(Date.now() + 60_000);
  for (let index = 0; index < 3; index += 1) await run(contree, { command: 'true', image: base, disposable: true });
  assert.equal((await contree.operations.list({ limit: 2 })).length, 2);
  assert.equal((await contree.operations.list({ limit: 2, offset: 2 })).length, 1);
  assert.equal((await contree.operations.list({ status: 'SUCCESS', kind: 'instance', since: before })).length, 3);
  assert.deepEqual(await contree.operations.list({ kind: 'image_import' }), []);
  assert.deepEqual(await contree.operations.list({ until: before }), []);
  assert.deepEqual(await contree.operations.list({ since: later }), []);
  assert.equal((await contree.images.list({ tag: 'a' }))[0]?.tag, 'a', 'an exact match comes first');
  assert.equal((await contree.images.list({ uuid: base })).length, 1);
  assert.deepEqual(await contree.images.list({ uuid: NOWHERE }), []);
  assert.deepEqual(await contree.images.list({ tag: 'z', since: before, until: later }), []);
  await contree.uploads.create(bytes('x'));
  assert.equal((await contree.uploads.list({ since: before, limit: 1_000 })).length, 1);
  assert.deepEqual(await contree.uploads.list({ until: before }), []);
}

async function about({ contree, base, project: own = 'default' }: ContreeUnderTest): Promise<void> {
  await run(contree, { command: 'true', image: base, disposable: true });
  const { project, used, quota } = await contree.system.usage();
  assert.equal(project, own);
  assert.ok(used.storage_bytes > 0, 'the root image');
  assert.deepEqual([used.runs, used.instances, quota], [0, 0, {}]);
  const me = await contree.system.whoami();
  assert.deepEqual([me.limits['instance_max_timeout'], me.operations_stat['SUCCESS']], [3_600, 1]);
  assert.ok(Object.values(me.permissions).some(Boolean));
  const report = await contree.system.gc({ dry_run: true, older_than_days: 3 });
  assert.ok(report.usage.length > 0 && report.layers === 0);
  const { checks, version } = await contree.system.doctor({ verify: true });
  assert.ok(version !== '' && checks.every(({ status }) => status !== 'failed'));
  assert.ok(checks.some(({ name }) => name === 'layers'));
}
