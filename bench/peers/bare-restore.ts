import { randomBytes } from 'node:crypto';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, open, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { Channel } from '../../src/sandbox/channel/index.ts';
import { namelessFile } from '../../src/sandbox/host/nameless-file.ts';
import { emptyQcow2, vmdkDescriptor } from '../../src/sandbox/microvm/vm/disk-image.ts';
import { Identities } from '../../src/sandbox/host/identity.ts';
import {
  DISK_BYTES,
  FD,
  LAYERS_DISK_BYTES,
  RESTORE_FD,
  restoreArguments,
} from '../../src/sandbox/microvm/vm/machine.ts';
import { HostPlatform } from '../../src/sandbox/microvm/host/platform.ts';
import { Qmp } from '../../src/sandbox/microvm/vm/qmp.ts';
import { defined } from '../../src/std/assert.ts';
import { limits } from '../../src/contract/limits.ts';
import { ROOT } from '../../test/support/home.ts';

/** A script that only restores a saved guest, runs a program in it and quits QEMU: no jail, network, queue or store. */
export interface BareRestore extends AsyncDisposable {
  run(layer: string): Promise<void>;
}

const COMMAND = { argv: ['/bin/true'], env: { PATH: '/usr/bin:/bin' }, cwd: '/', uid: 0, gid: 0, stdin: false };

/** Makes its own template in a new folder. */
export async function openBareRestore(): Promise<BareRestore> {
  await using stack = new AsyncDisposableStack();
  const stateDir = await mkdtemp(join(tmpdir(), 'contree-bare-'));
  stack.defer(() => rm(stateDir, { recursive: true, force: true }));
  for (const folder of ['tmp', 'templates']) await mkdir(join(stateDir, folder));
  const options = { stateDir, guestDir: join(ROOT, 'guest/dist'), accelerator: 'auto', log: () => undefined } as const;
  const identities = await Identities.open(stateDir);
  const platform = stack.use(await HostPlatform.open(options, identities, AbortSignal.timeout(limits.guestBootMsMax)));
  await platform.warm();
  const kept = stack.move();
  return { run: (layer) => bareRun(platform, layer), [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

async function bareRun(platform: HostPlatform, layer: string): Promise<void> {
  const template = await platform.warm();
  const machine = platform.machine(limits.guestCpusDefault, limits.guestMemoryMibDefault);
  await using files = new AsyncDisposableStack();
  const state = files.use(await open(`/proc/self/fd/${template.state.fd}`, 'r'));
  const overlay = files.use(await namelessFile(platform.parts.scratch, 'r+', emptyQcow2(DISK_BYTES)));
  const bytes = (await stat(layer)).size;
  const extents = [
    { descriptor: RESTORE_FD.firstExtent, bytes },
    { descriptor: RESTORE_FD.firstExtent + 1, bytes: LAYERS_DISK_BYTES - bytes },
  ];
  const extentList = files.use(await namelessFile(platform.parts.scratch, 'r', vmdkDescriptor(extents)));
  const image = files.use(await open(layer, 'r'));
  const descriptors = new Map([
    [FD.ram, template.ram],
    [RESTORE_FD.state, state],
    [RESTORE_FD.disk, template.disk],
    [RESTORE_FD.overlay, overlay],
    [RESTORE_FD.layers, extentList],
    [RESTORE_FD.firstExtent, image],
    [RESTORE_FD.firstExtent + 1, platform.parts.padding],
  ]);
  const stdio = Array.from(
    { length: RESTORE_FD.firstExtent + 2 },
    (_, number) => descriptors.get(number)?.fd ?? 'pipe',
  );
  const qemu = spawn('qemu-system-x86_64', restoreArguments(machine, 1), { stdio });
  const gone = once(qemu, 'exit');
  const socket = (number: number): Duplex => defined(qemu.stdio[number], 'a socket') as Duplex;
  for (const number of [FD.network, FD.console, FD.info])
    socket(number)
      .on('error', () => undefined)
      .resume();
  const qmp = new Qmp(socket(FD.qmp));
  const channel = new Channel(socket(FD.agent));
  const capabilities = [{ capability: 'x-ignore-shared', state: true }];
  const restored = [
    qmp.execute('migrate-set-capabilities', { capabilities }),
    qmp.execute('migrate-incoming', { uri: `fd:${RESTORE_FD.state}` }),
  ];
  const setup = {
    hostname: 'bare',
    entropy: randomBytes(64),
    diskBytes: limits.layerBytesDefault,
    layers: [{ offset: 0, bytes }],
  };
  const signal = AbortSignal.timeout(limits.guestRestoreMsMax);
  await Promise.all([channel.setup(setup, signal), ...restored]);
  const process = await channel.start(COMMAND, signal);
  for await (const chunk of process.output) void chunk;
  if ((await process.outcome).exitCode !== 0) throw new Error('/bin/true failed');
  qemu.kill('SIGKILL');
  await gone;
}
