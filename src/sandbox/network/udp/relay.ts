import { keyOf, type Address } from '../../../std/ip/address.ts';
import { Allowance } from '../allowance.ts';
import { IP4_BYTES, IP6_BYTES, UDP_BYTES, type Packet } from '../packet.ts';
import { answering, type Endpoints, type Offending } from '../reply.ts';
import type { FlowBudget, FlowHolder } from './budget.ts';
import type { FarPort, Heard } from './dial.ts';

export interface UdpRelayOptions {
  readonly mtuBytes: number;
  readonly budget: FlowBudget;
  /** Opens a flow to a permitted destination of the guest. */
  readonly dial: (address: Address, port: number, heard: Heard) => FarPort;
  /** Gives the guest a datagram. */
  readonly send: (between: Endpoints, payload: Buffer) => void;
  /** The guest's datagram did not arrive; `code` is the host's error (`ECONNREFUSED`). */
  readonly failed: (offending: Offending, code: string) => void;
  readonly nowMs?: () => number;
}

/** One port of the guest and one address and port that it talks to, joined to a socket of the host. */
interface Flow {
  readonly far: FarPort;
  /** The headers of its first datagram, for error messages to the guest. */
  readonly opening: Offending;
  usedMs: number;
}

/** Limit of flows, each of which is a socket of the host. */
const FLOWS_MAX = 256;
/** New flows a second, when the first `FLOWS_MAX` are used up: opening a socket costs more than sending through it. */
const FLOWS_PER_SECOND = 128;
/** RFC 4787 §4.3 asks for two minutes at least. Only what the guest sends keeps a flow: others must not. */
const IDLE_MS = 120_000;
const CHECK_MS = 5_000;

/**
 * The UDP flows of one guest. Each has a connected socket of the host with a port that the kernel picks, so that a guest
 * cannot choose ports, and only answers from peers that it wrote to come in.
 */
export class UdpRelay implements FlowHolder, Disposable {
  readonly #options: UdpRelayOptions;
  readonly #nowMs: () => number;
  readonly #opening: Allowance;
  /** Least recently used first. */
  readonly #flows = new Map<string, Flow>();
  #checks: NodeJS.Timeout | undefined;

  constructor(options: UdpRelayOptions) {
    this.#options = options;
    this.#nowMs = options.nowMs ?? ((): number => performance.now());
    this.#opening = new Allowance(FLOWS_PER_SECOND, FLOWS_MAX, this.#nowMs);
    options.budget.join(this);
  }

  get size(): number {
    return this.#flows.size;
  }

  /** Takes a permitted datagram. Returns false when it would begin one flow too many and is dropped. */
  receive(frame: Buffer, packet: Packet): boolean {
    const key = `${packet.sourcePort}>${keyOf(packet.destination)}:${packet.destinationPort}`;
    const flow = this.#flows.get(key) ?? this.#open(key, frame, packet);
    if (flow === undefined) return false;
    flow.usedMs = this.#nowMs();
    this.#flows.delete(key);
    this.#flows.set(key, flow);
    flow.far.send(frame.subarray(packet.payload, packet.end));
    return true;
  }

  #open(key: string, frame: Buffer, packet: Packet): Flow | undefined {
    if (!this.#opening.take()) return undefined;
    if (this.#flows.size >= FLOWS_MAX) this.dropOldest();
    const { budget, dial, send, failed, mtuBytes } = this.#options;
    budget.makeRoom();
    const between = answering(packet);
    const opening = headersOf(frame, packet);
    const payloadMax = mtuBytes - UDP_BYTES - (packet.family === 4 ? IP4_BYTES : IP6_BYTES);
    const far = dial(between.source, between.sourcePort, {
      datagram: (payload) => (payload.length > payloadMax ? undefined : send(between, payload)),
      failed: (code, final) => {
        if (final && this.#flows.get(key)?.far === far) this.#close(key);
        failed(opening, code);
      },
    });
    this.#checks ??= setInterval(() => this.#check(), CHECK_MS).unref();
    return { far, opening, usedMs: 0 };
  }

  /** Closes the flow that was used least recently. */
  dropOldest(): void {
    const [oldest] = this.#flows.keys();
    if (oldest !== undefined) this.#close(oldest);
  }

  #close(key: string): void {
    this.#flows.get(key)?.far[Symbol.dispose]();
    this.#flows.delete(key);
    if (this.#flows.size > 0) return;
    clearInterval(this.#checks);
    this.#checks = undefined;
  }

  #check(): void {
    const nowMs = this.#nowMs();
    for (const [key, { usedMs }] of this.#flows) {
      if (nowMs - usedMs < IDLE_MS) return;
      this.#close(key);
    }
  }

  [Symbol.dispose](): void {
    this.#options.budget.leave(this);
    for (const key of this.#flows.keys()) this.#close(key);
    clearInterval(this.#checks);
  }
}

/** A copy of the headers of a frame, and where they are. */
function headersOf(frame: Buffer, { family, protocol, source, transport, payload }: Packet): Offending {
  const headers = Buffer.from(frame.subarray(0, payload));
  return { frame: headers, packet: { family, protocol, source: source.slice(), transport, end: payload } };
}
