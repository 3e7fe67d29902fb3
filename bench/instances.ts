import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempDisposable, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { InstanceOpenRequest } from '../src/contract/instance.ts';
import type { ExecSpec } from '../src/contract/run.ts';
import { streamBytes } from '../src/contract/stream.ts';
import { defined } from '../src/std/assert.ts';
import { hasRunsc } from '../test/support/gvisor.ts';
import { until } from '../test/support/time/until.ts';
import { memoryOfJails } from './support/jail-memory.ts';
import { sampleOf, timeMs } from './support/measure.ts';
import { type Place, succeeded } from './support/place.ts';
import type { Report } from './support/report.ts';

const EXECS = 60;
const OPEN = 50;
const SMALL = { memory_mib: 128 };
const FILES = 5_000;
const SNAPSHOTS = 3;
const PACKAGES = ['git', 'vim'];
const DOWNLOADS = 3;
const FILE_BYTES = 1024 ** 3;
const PORT = 8_000;
const HTTP_SERVER = ['-m', 'http.server', '--bind', '127.0.0.1'];

type Sandbox = 'gvisor' | 'microvm';

/** Milliseconds of one command, as its client saw it and as it ran in the guest. */
interface Exec {
  readonly clientMs: number;
  readonly guestMs: number;
}

/** Opens an instance and waits until it is up. */
async function open({ contree, image }: Place, request: Omit<InstanceOpenRequest, 'image'>): Promise<string> {
  const { uuid } = await contree.instances.open({ image, ...request });
  for await (const { type } of contree.operations.events(uuid, { follow: true })) if (type === 'init') break;
  return uuid;
}

/** Executes a command as a client does: starts it and follows its log to its end. */
async function execute({ contree }: Place, uuid: string, spec: ExecSpec): Promise<Exec> {
  let guestMs = 0;
  const clientMs = await timeMs(async () => {
    const { spid } = await contree.processes.start(uuid, spec);
    for await (const event of contree.operations.events(uuid, { follow: true, spid })) {
      if (event.type !== 'exit') continue;
      if (event.data.code !== 0) throw new Error(`a command ended with ${event.data.code}`);
      guestMs = event.data.duration_ms;
      break;
    }
  });
  return { clientMs, guestMs };
}

/** Measures what a client waits for beyond the command itself. */
async function execs(place: Place, report: Report, sandbox: Sandbox): Promise<void> {
  const uuid = await open(place, { sandbox, disposable: true });
  await execute(place, uuid, { command: '/bin/true' });
  const all: Exec[] = [];
  for (let index = 0; index < EXECS; index += 1) all.push(await execute(place, uuid, { command: '/bin/true' }));
  const above = sampleOf(all.map(({ clientMs, guestMs }) => clientMs - guestMs));
  const [client, guest] = [sampleOf(all.map(({ clientMs }) => clientMs)), sampleOf(all.map((one) => one.guestMs))];
  const atMost = sandbox === 'gvisor' ? 15 : 60;
  report.add({
    what: `exec in an open instance above the command itself (${sandbox}), p50`,
    value: above.medianMs,
    unit: 'ms',
    budget: { atMost },
    note: `whole ${client.medianMs.toFixed(1)} ms, in the guest ${guest.medianMs.toFixed(0)} ms; p99 above ${above.p99Ms.toFixed(1)} ms`,
  });
  await place.contree.instances.close(uuid);
  await place.finished(uuid);
}

/** Opens many instances and measures what each takes. */
async function many(place: Place, report: Report): Promise<void> {
  const stateDir = join(place.home.dataDir, 'gvisor');
  const before = (await place.engine()).memoryMib;
  const uuids: string[] = [];
  const elapsedMs = await timeMs(async () => {
    while (uuids.length < OPEN) {
      uuids.push(await open(place, { sandbox: 'gvisor', disposable: true, resources_limits: SMALL }));
    }
  });
  for (const uuid of uuids) await execute(place, uuid, { command: '/bin/true' });
  const memory = await memoryOfJails(stateDir);
  const engine = (await place.engine()).memoryMib - before;
  report.add({
    what: `memory of each of ${OPEN} open instances after one command (gvisor)`,
    value: memory / OPEN,
    unit: 'MiB',
    note: `proportional set size; the engine itself took ${engine.toFixed(0)} MiB more; opened in ${(elapsedMs / OPEN).toFixed(0)} ms each`,
  });
  const last = defined(uuids.at(-1), 'instances were opened');
  const busy: number[] = [];
  for (let index = 0; index < EXECS; index += 1) {
    const { clientMs, guestMs } = await execute(place, last, { command: '/bin/true' });
    busy.push(clientMs - guestMs);
  }
  report.add({
    what: `exec in one of ${OPEN} above the command itself (gvisor), p50`,
    value: sampleOf(busy).medianMs,
    unit: 'ms',
  });
  for (const uuid of uuids) await place.contree.instances.close(uuid);
  for (const uuid of uuids) await place.finished(uuid);
}

/** Snapshots a change of many files while `apt-get` installs packages, which succeeds, and of which no file is torn. */
async function snapshots(place: Place, report: Report, sandbox: Sandbox): Promise<void> {
  const { contree } = place;
  const what = `snapshot of ${FILES} new files while apt-get installs ${PACKAGES.join(' and ')} (${sandbox})`;
  const uuid = await open(place, { sandbox, networking: { mode: 'public' }, resources_limits: { cpus: 2 } });
  const write = (name: string): string =>
    `import os\nos.makedirs("/root/${name}",exist_ok=True)\nfor i in range(${FILES}): open(f"/root/${name}/{i}","w").write("x"*1000)`;
  const install = { command: 'apt-get', args: ['install', '-y', '--no-install-recommends', ...PACKAGES] };
  const { spid } = await contree.processes.start(uuid, { ...install, env: { DEBIAN_FRONTEND: 'noninteractive' } });
  const [whole, frozen, images]: [number[], number[], string[]] = [[], [], []];
  let text = '';
  let code: number | undefined;
  for await (const event of contree.operations.events(uuid, { follow: true, spid })) {
    if (event.type === 'stderr') text += streamBytes(event.data).toString();
    if (event.type === 'exit') code = event.data.code;
    if (event.type === 'exit') break;
    if (event.type !== 'stdout' || whole.length === SNAPSHOTS) continue;
    text += streamBytes(event.data).toString();
    if (!text.includes('Unpacking')) continue;
    await execute(place, uuid, { command: 'python3', args: ['-c', write(`many-${whole.length}`)] });
    let taken = { frozen_ms: 0, image: '' };
    whole.push(await timeMs(async () => (taken = await contree.instances.snapshot(uuid))));
    frozen.push(taken.frozen_ms);
    images.push(taken.image);
  }
  await contree.instances.close(uuid);
  const { result_image_uuid: last } = await place.finished(uuid);
  if (whole.length === 0) {
    report.absent(what, `the mirror of the packages is not reached: ${text.slice(-300)}`);
    return;
  }
  if (code !== 0) throw new Error(`apt-get ended with ${code}: ${text.slice(-2_000)}`);
  for (const image of images) await checkWhole(place, image, defined(last, 'it was kept'));
  report.add({
    what,
    value: sampleOf(whole).medianMs,
    unit: 'ms',
    note: `writers waited ${sampleOf(frozen).medianMs.toFixed(0)} ms; ${images.length} of them; no file of a package is torn`,
  });
}

/** Throws when a package's file in a snapshot is not as in the end: dpkg gives it its name when it is whole. */
async function checkWhole(place: Place, image: string, last: string): Promise<void> {
  const command = "cat /var/lib/dpkg/info/*.md5sums | sed 's/^[^ ]* *//'";
  const { metadata } = succeeded(await place.run({ image: last, command, shell: true, disposable: true }));
  const listed = 'result' in metadata ? metadata.result?.stdout : undefined;
  const files = new Set(streamBytes(defined(listed, 'the lists were printed')).toString().split('\n'));
  const { entries: changes } = await place.contree.images.diff(image, { to: last });
  const torn = changes.filter(({ path, change }) => change !== 'added' && files.has(path.slice(1)));
  if (torn.length > 0) throw new Error(`a snapshot has other content in ${torn.map(({ path }) => path).join(' ')}`);
}

/** Reads a file from a web server at a loopback port. Returns MB/s. */
async function downloaded(port: number): Promise<number> {
  let bytes = 0;
  const ms = await timeMs(async () => {
    const { body } = await fetch(`http://127.0.0.1:${port}/file`);
    for await (const chunk of defined(body, 'the file has content')) bytes += (chunk as Uint8Array).byteLength;
  });
  if (bytes !== FILE_BYTES) throw new Error(`the file arrived with ${bytes} bytes`);
  return bytes / 1e6 / (ms / 1_000);
}

/** Starts Python's web server on the host, over a file of the same size. */
async function nativeServer(folder: string): Promise<{ readonly port: number } & Disposable> {
  await writeFile(join(folder, 'file'), '');
  await truncate(join(folder, 'file'), FILE_BYTES);
  const server = spawn('python3', ['-u', ...HTTP_SERVER, '0'], { cwd: folder, stdio: ['ignore', 'pipe', 'ignore'] });
  const [line] = (await once(server.stdout, 'data')) as [Buffer];
  const port = Number(defined(/port (\d+)/u.exec(line.toString())?.[1], 'the server says its port'));
  return { port, [Symbol.dispose]: () => void server.kill() };
}

/** Downloads a large file through a published port, in turns with the same server on the host. */
async function download(place: Place, report: Report): Promise<void> {
  const uuid = await open(place, { sandbox: 'gvisor', disposable: true, publish: [{ port: PORT }] });
  await execute(place, uuid, { command: 'truncate', args: ['-s', String(FILE_BYTES), '/srv/file'] });
  await place.contree.processes.start(uuid, { command: 'python3', args: [...HTTP_SERVER, String(PORT)], cwd: '/srv' });
  const [{ host_port: port } = { host_port: 0 }] = (await place.contree.instances.get(uuid)).ports;
  await until(() =>
    fetch(`http://127.0.0.1:${port}/`).then(
      ({ ok }) => ok,
      () => false,
    ),
  );
  await using folder = await mkdtempDisposable(join(tmpdir(), 'contree-download-'));
  using native = await nativeServer(folder.path);
  const [ours, peer]: [number[], number[]] = [[], []];
  for (let round = 0; round < DOWNLOADS; round += 1) {
    ours.push(await downloaded(port));
    peer.push(await downloaded(native.port));
  }
  await place.contree.instances.close(uuid);
  await place.finished(uuid);
  report.add({
    what: '1 GiB from python3 -m http.server through a published port (gvisor)',
    value: sampleOf(ours).medianMs,
    unit: 'MB/s',
    budget: { atLeast: 100 },
    peer: `the same server on the host ${sampleOf(peer).medianMs.toFixed(0)} MB/s`,
  });
}

/** Measures instances that stay: their commands, their memory, their snapshots, their ports. */
export async function benchInstances(place: Place, report: Report): Promise<void> {
  report.section('Instances');
  const sandboxes: Sandbox[] = (await hasRunsc()) ? ['gvisor', 'microvm'] : ['microvm'];
  for (const sandbox of sandboxes) await execs(place, report, sandbox);
  if (sandboxes.includes('gvisor')) await many(place, report);
  for (const sandbox of sandboxes) await snapshots(place, report, sandbox);
  if (sandboxes.includes('gvisor')) await download(place, report);
}
