import { fault } from '../../contract/errors.ts';
import type { Command, GuestUser, Outcome } from '../driver.ts';
import { FieldReader, FieldWriter } from './field.ts';
import type { Frame } from './frame.ts';

/** Frames that the host sends. 0x09 was used for counters and is not used again. */
export const TO_GUEST = {
  setup: 0x01,
  start: 0x02,
  stdin: 0x03,
  stdinClose: 0x04,
  kill: 0x05,
  resize: 0x06,
  credit: 0x07,
  changes: 0x08,
  startPart: 0x0a,
  connect: 0x0c,
  snapshot: 0x0b,
} as const;

/** Frames that the guest sends. 0x8b was used for counters and is not used again. */
const FROM_GUEST = {
  hello: 0x81,
  ready: 0x82,
  started: 0x83,
  stdout: 0x84,
  stderr: 0x85,
  outputEnd: 0x86,
  exited: 0x87,
  stdinCredit: 0x88,
  changesData: 0x89,
  changesEnd: 0x8a,
  fault: 0x8c,
  connected: 0x8e,
  disconnected: 0x8f,
  user: 0x90,
  snapshotEnd: 0x8d,
} as const;

/** Requests of the host about a snapshot: the payload of that frame. */
export const SNAPSHOT_STEP = { take: 0, accept: 1, cancel: 2 } as const;

const FLAG_CORE_DUMP = 1;
const FLAG_OUT_OF_MEMORY = 2;
const FLAG_DISK_FULL = 4;

const START_STDIN = 1;
const START_TERMINAL = 2;
const START_ACCOUNT = 4;
const START_HOME = 8;

const TEXT_BYTES_MAX = 4_096;
const STEPS_MAX = 32;

/** Position of a layer on the disk that concatenates them all. */
export interface LayerExtent {
  readonly offset: number;
  readonly bytes: number;
}

/** One family's address of the guest; 4 or 16 bytes in network order. */
export interface GuestAddress {
  readonly address: Uint8Array;
  readonly prefix: number;
  readonly gateway: Uint8Array;
}

export interface GuestNetwork {
  /** 6 bytes. */
  readonly mac: Uint8Array;
  readonly mtu: number;
  readonly ip4?: GuestAddress;
  readonly ip6?: GuestAddress;
  /** Addresses in the notation of resolv.conf. */
  readonly nameservers: readonly string[];
}

/** Settings that turn a restored template into the machine of this run. The clock is added when the message is sent. */
export interface GuestSetup {
  readonly hostname: string;
  /** At least 32 fresh random bytes. */
  readonly entropy: Uint8Array;
  /** Bytes that the run may write. */
  readonly diskBytes: number;
  /** Bottom first. */
  readonly layers: readonly LayerExtent[];
  readonly network?: GuestNetwork;
}

export interface GuestHello {
  readonly kernel: string;
  /** Version of the agent. */
  readonly agent: string;
}

export interface GuestReady {
  readonly bootId: string;
  /** Milliseconds of each step inside the guest. */
  readonly stepsMs: Readonly<Record<string, number>>;
}

export type FaultCode = 'setup' | 'changes' | 'diskFull';
/** Reason for the end of a connection, or for its failure. */
export type DisconnectReason = 'ended' | 'refused' | 'reset';

/** End of a snapshot. */
export interface SnapshotEnd {
  readonly bytes: number;
  /** Milliseconds for which the programs stood still. */
  readonly frozenMs: number;
  /** Reason why there is no snapshot; empty when it is complete. */
  readonly failure: string;
}

/** Messages of a guest. */
export type GuestMessage =
  | ({ readonly kind: 'hello' } & GuestHello)
  | ({ readonly kind: 'ready' } & GuestReady)
  | { readonly kind: 'started'; readonly pid: number }
  | { readonly kind: 'user'; readonly unknown: 'user' | 'group' | undefined; readonly identity: GuestUser }
  | { readonly kind: 'output'; readonly stream: 'stdout' | 'stderr'; readonly bytes: Buffer }
  | { readonly kind: 'outputEnd' }
  | { readonly kind: 'exited'; readonly outcome: Outcome }
  | { readonly kind: 'stdinCredit'; readonly bytes: number }
  | { readonly kind: 'changesData'; readonly bytes: Buffer }
  | { readonly kind: 'changesEnd'; readonly bytes: number; readonly diskFull: boolean }
  | { readonly kind: 'connected' }
  | { readonly kind: 'disconnected'; readonly reason: DisconnectReason }
  | ({ readonly kind: 'snapshotEnd' } & SnapshotEnd)
  | { readonly kind: 'fault'; readonly code: FaultCode; readonly reason: string };

/** Messages about a process or a connection. */
export type NumberedMessage = Extract<
  GuestMessage,
  { kind: 'started' | 'user' | 'output' | 'outputEnd' | 'exited' | 'stdinCredit' | 'connected' | 'disconnected' }
>;

/** Throws GUEST_PROTOCOL for anything a well-behaved agent would not send. */
export function decodeMessage(frame: Frame): GuestMessage {
  const { kind, payload } = frame;
  if (kind === FROM_GUEST.stdout || kind === FROM_GUEST.stderr || kind === FROM_GUEST.changesData) {
    if (payload.length === 0) throw fault('GUEST_PROTOCOL', { reason: 'an empty frame of data' });
    if (kind === FROM_GUEST.changesData) return { kind: 'changesData', bytes: payload };
    return { kind: 'output', stream: kind === FROM_GUEST.stdout ? 'stdout' : 'stderr', bytes: payload };
  }
  const reader = new FieldReader(payload);
  const message = decodeFields(kind, reader);
  reader.end();
  return message;
}

function decodeFields(kind: number, reader: FieldReader): GuestMessage {
  switch (kind) {
    case FROM_GUEST.hello:
      return { kind: 'hello', kernel: reader.text(TEXT_BYTES_MAX), agent: reader.text(TEXT_BYTES_MAX) };
    case FROM_GUEST.ready:
      return { kind: 'ready', bootId: reader.text(TEXT_BYTES_MAX), stepsMs: decodeSteps(reader) };
    case FROM_GUEST.started:
      return { kind: 'started', pid: reader.u32() };
    case FROM_GUEST.user:
      return { kind: 'user', ...decodeUser(reader) };
    case FROM_GUEST.outputEnd:
      return { kind: 'outputEnd' };
    case FROM_GUEST.exited:
      return { kind: 'exited', outcome: decodeOutcome(reader) };
    case FROM_GUEST.stdinCredit:
      return { kind: 'stdinCredit', bytes: reader.u32() };
    case FROM_GUEST.changesEnd:
      return { kind: 'changesEnd', ...decodeChangesEnd(reader) };
    case FROM_GUEST.connected:
      return { kind: 'connected' };
    case FROM_GUEST.disconnected:
      return { kind: 'disconnected', reason: decodeDisconnectReason(reader.u8()) };
    case FROM_GUEST.snapshotEnd:
      return { kind: 'snapshotEnd', ...decodeSnapshotEnd(reader) };
    case FROM_GUEST.fault:
      return { kind: 'fault', code: decodeFaultCode(reader.u8()), reason: reader.text(TEXT_BYTES_MAX) };
    default:
      throw fault('GUEST_PROTOCOL', { reason: `a frame of unknown kind ${kind}` });
  }
}

function decodeUser(reader: FieldReader): { unknown: 'user' | 'group' | undefined; identity: GuestUser } {
  const result = reader.u8();
  if (result > 2) throw fault('GUEST_PROTOCOL', { reason: `a user of unknown result ${result}` });
  const unknown = ([undefined, 'user', 'group'] as const)[result];
  return { unknown, identity: { uid: reader.u32(), gid: reader.u32(), home: reader.text(TEXT_BYTES_MAX) } };
}

function decodeSteps(reader: FieldReader): Record<string, number> {
  const steps = reader.list(STEPS_MAX, () => [reader.text(TEXT_BYTES_MAX), reader.u32() / 1_000] as const);
  return Object.fromEntries(steps);
}

function decodeOutcome(reader: FieldReader): Outcome {
  const [exitCode, signal, flags] = [reader.i32(), reader.i32(), reader.u8()];
  const byExit = exitCode >= 0 && exitCode <= 255 && signal === -1;
  const bySignal = exitCode === -1 && signal > 0 && signal <= 64;
  if (!byExit && !bySignal) throw fault('GUEST_PROTOCOL', { reason: `an exit code ${exitCode}, signal ${signal}` });
  return {
    exitCode,
    signal,
    coreDump: (flags & FLAG_CORE_DUMP) !== 0,
    outOfMemory: (flags & FLAG_OUT_OF_MEMORY) !== 0,
    diskFull: (flags & FLAG_DISK_FULL) !== 0,
    durationMs: reader.u64() / 1_000,
    usage: {
      userTimeUs: reader.u64(),
      sysTimeUs: reader.u64(),
      maxRssKb: reader.u64(),
      minorFaults: reader.u64(),
      majorFaults: reader.u64(),
      voluntarySwitches: reader.u64(),
      involuntarySwitches: reader.u64(),
      blockInputOps: reader.u64(),
      blockOutputOps: reader.u64(),
    },
  };
}

function decodeChangesEnd(reader: FieldReader): { bytes: number; diskFull: boolean } {
  const bytes = reader.u64();
  reader.u64();
  return { bytes, diskFull: (reader.u8() & FLAG_DISK_FULL) !== 0 };
}

function decodeSnapshotEnd(reader: FieldReader): SnapshotEnd {
  const bytes = reader.u64();
  reader.u64();
  return { bytes, frozenMs: reader.u64() / 1_000, failure: reader.text(TEXT_BYTES_MAX) };
}

function decodeFaultCode(code: number): FaultCode {
  const found = ([undefined, 'setup', 'changes', 'diskFull'] as const)[code];
  if (found === undefined) throw fault('GUEST_PROTOCOL', { reason: `a fault of unknown code ${code}` });
  return found;
}

function decodeDisconnectReason(code: number): DisconnectReason {
  const found = (['ended', 'refused', 'reset'] as const)[code];
  if (found === undefined) throw fault('GUEST_PROTOCOL', { reason: `a disconnection of unknown reason ${code}` });
  return found;
}

/** `clockNs`: nanoseconds since 1970. */
export function encodeSetup(setup: GuestSetup, clockNs: bigint): Buffer {
  const writer = new FieldWriter().text(setup.hostname).u64(clockNs).bytes(setup.entropy).u64(setup.diskBytes);
  writer.list(setup.layers, ({ offset, bytes }) => writer.u64(offset).u64(bytes));
  const { network } = setup;
  if (network === undefined) return writer.u8(0).payload();
  writer.u8(1).raw(network.mac).u16(network.mtu);
  for (const address of [network.ip4, network.ip6]) {
    if (address === undefined) writer.u8(0);
    else writer.u8(1).bytes(address.address).u8(address.prefix).bytes(address.gateway);
  }
  return writer.list(network.nameservers, (server) => writer.text(server)).payload();
}

export function encodeCommand(command: Command): Buffer {
  const { argv, env, cwd, uid, gid, account, stdin, tty } = command;
  const texts = [...argv, ...Object.entries(env).flat(), cwd, account?.user ?? ''];
  if (texts.some((text) => text.includes('\0'))) {
    throw fault('ARGUMENT_INVALID', {
      reason: 'a command, its environment, its cwd and its user cannot hold a NUL character',
    });
  }
  const writer = new FieldWriter();
  writer.list(argv, (argument) => writer.text(argument));
  writer.list(Object.entries(env), ([name, value]) => writer.text(`${name}=${value}`));
  const lookup = account === undefined ? 0 : START_ACCOUNT | (account.home ? START_HOME : 0);
  const flags = (stdin ? START_STDIN : 0) | (tty === undefined ? 0 : START_TERMINAL) | lookup;
  writer.text(cwd).u32(uid).u32(gid).u8(flags);
  writer.u16(tty?.columns ?? 0).u16(tty?.rows ?? 0);
  if (account !== undefined) writer.text(account.user);
  return writer.payload();
}
