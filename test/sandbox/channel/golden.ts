import { readFileSync } from 'node:fs';
import type { Command } from '../../../src/sandbox/driver.ts';
import type { GuestMessage, GuestSetup } from '../../../src/sandbox/channel/message.ts';

/** Frames that both ends agree on, by name. `guest/agent/src/golden.rs` checks the same file from the other side. */
export const GOLDEN: ReadonlyMap<string, Buffer> = new Map(
  readFileSync(new URL('../../../guest/agent/golden/frames.txt', import.meta.url), 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.split(' '))
    .map(([name = '', hex = '']) => [name, Buffer.from(hex, 'hex')]),
);

export function golden(name: string): Buffer {
  const frame = GOLDEN.get(name);
  if (frame === undefined) throw new Error(`no golden frame ${name}`);
  return frame;
}

export const SETUP: GuestSetup = {
  hostname: 'box',
  entropy: Buffer.from('0123456789abcdef0123456789abcdef'),
  diskBytes: 12 * 1024 ** 3,
  layers: [
    { offset: 0, bytes: 4096 },
    { offset: 2 ** 40, bytes: 2 ** 33 },
  ],
  network: {
    mac: Buffer.from('020000000001', 'hex'),
    mtu: 1500,
    ip4: { address: Buffer.from([10, 0, 2, 15]), prefix: 24, gateway: Buffer.from([10, 0, 2, 2]) },
    ip6: {
      address: Buffer.from('fd000000000000000000000000000015', 'hex'),
      prefix: 64,
      gateway: Buffer.from('fd000000000000000000000000000002', 'hex'),
    },
    nameservers: ['10.0.2.3', 'fd00::3'],
  },
};

export const SETUP_OFFLINE: GuestSetup = {
  hostname: 'ü',
  entropy: Buffer.alloc(32, 7),
  diskBytes: 1,
  layers: [{ offset: 0, bytes: 4096 }],
};

export const CLOCK_NS = 1_800_000_000_123_456_789n;

export const COMMAND: Command = {
  argv: ['sh', '-c', 'echo "ä"'],
  env: { PATH: '/bin', EMPTY: '' },
  cwd: '/work',
  uid: 1000,
  gid: 100,
  stdin: true,
  tty: { columns: 100, rows: 30 },
};

export const COMMAND_AS: Command = {
  argv: ['id'],
  env: {},
  cwd: '/',
  uid: 0,
  gid: 0,
  account: { user: 'ann:29', home: true },
  stdin: false,
};

/** Meaning of each frame of a guest. */
export const FROM_GUEST: Readonly<Record<string, GuestMessage>> = {
  hello: { kind: 'hello', kernel: '6.1.0-56-cloud-amd64', agent: '0.1.0' },
  ready: {
    kind: 'ready',
    bootId: '5be178b7-dd3d-4afb-bca3-3dab53525dd1',
    stepsMs: { identity: 1.5, layers: 20 },
  },
  started: { kind: 'started', pid: 2 },
  user: { kind: 'user', unknown: undefined, identity: { uid: 1_000, gid: 29, home: '/home/ann' } },
  user_unknown: { kind: 'user', unknown: 'group', identity: { uid: 0, gid: 0, home: '' } },
  stdout: { kind: 'output', stream: 'stdout', bytes: Buffer.from('out\n') },
  stderr: { kind: 'output', stream: 'stderr', bytes: Buffer.from([0, 255]) },
  output_end: { kind: 'outputEnd' },
  exited: {
    kind: 'exited',
    outcome: {
      exitCode: -1,
      signal: 9,
      coreDump: true,
      outOfMemory: true,
      diskFull: true,
      durationMs: 1_234.567,
      usage: {
        userTimeUs: 2,
        sysTimeUs: 3,
        maxRssKb: 4,
        minorFaults: 5,
        majorFaults: 6,
        voluntarySwitches: 7,
        involuntarySwitches: 8,
        blockInputOps: 9,
        blockOutputOps: 10,
      },
    },
  },
  stdin_credit: { kind: 'stdinCredit', bytes: 65_536 },
  changes_data: { kind: 'changesData', bytes: Buffer.from('tar') },
  changes_end: { kind: 'changesEnd', bytes: 3, diskFull: false },
  connected: { kind: 'connected' },
  disconnected: { kind: 'disconnected', reason: 'reset' },
  snapshot_end: { kind: 'snapshotEnd', bytes: 3, frozenMs: 1.5, failure: '' },
  snapshot_failed: { kind: 'snapshotEnd', bytes: 0, frozenMs: 0, failure: 'no space' },
  fault: { kind: 'fault', code: 'setup', reason: 'no layers' },
};
