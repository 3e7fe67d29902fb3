import { PROTOCOL, TCP_BYTES, TCP_FLAG, type Packet } from './packet.ts';

/**
 * Bytes that all senders together may have under way to the guest. What passt finds no room for in its socket it loses,
 * and it notices only after two seconds: so nothing may get lost. A socket pair holds 212,992 bytes by default, in which
 * the kernel counts up to twice the payload.
 */
const UNDER_WAY_BYTES_MAX = 64 * 1024;
/** With less than two segments under way the guest waits before it acknowledges. */
const WINDOW_BYTES_MIN = 6 * 1024;
/** Connections that were quiet for this long do not take a share. */
const EPOCH_MS = 1_000;
const CONNECTIONS_MAX = 4_096;

interface Connection {
  /** Of the window, as the guest announced it. */
  shift: number;
  windowBytes: number;
  epoch: number;
}

/**
 * Divides the link among the guest's TCP connections by lowering the windows that it announces. The round trip on the
 * link is far below a millisecond, so a small window costs no speed. The guest notices nothing.
 */
export class WindowLimiter {
  readonly #connections = new Map<number, Connection>();
  readonly #nowMs: () => number;
  #epoch = 0;
  #epochEndsMs = 0;
  /** Connections that spoke in this epoch, and in the one before. */
  #active = 0;
  #activeBefore = 0;

  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
  }

  /** Lowers the window in a TCP segment that the guest sends; `frame` is changed in place. */
  limit(frame: Buffer, packet: Packet): void {
    if (packet.protocol !== PROTOCOL.tcp) return;
    this.#turn();
    const connection = this.#connectionOf(packet.sourcePort);
    const begins = (packet.flags & TCP_FLAG.syn) !== 0;
    if (begins) {
      connection.shift = shiftOf(frame.subarray(packet.transport + TCP_BYTES, packet.payload));
      connection.windowBytes = WINDOW_BYTES_MIN / 2;
    }
    if (connection.epoch !== this.#epoch) {
      connection.epoch = this.#epoch;
      this.#active += 1;
    }
    // Connections often begin together: each starts small and grows while the earlier ones give way.
    const share = Math.max(UNDER_WAY_BYTES_MAX / Math.max(this.#active, this.#activeBefore), WINDOW_BYTES_MIN);
    connection.windowBytes = Math.min(connection.windowBytes * 2, Math.floor(share));
    // The window of a SYN is never scaled.
    lowerWindow(frame, packet.transport, connection.windowBytes >>> (begins ? 0 : connection.shift));
  }

  #turn(): void {
    const nowMs = this.#nowMs();
    if (nowMs < this.#epochEndsMs) return;
    this.#activeBefore = nowMs < this.#epochEndsMs + EPOCH_MS ? this.#active : 0;
    this.#active = 0;
    this.#epoch += 1;
    this.#epochEndsMs = nowMs + EPOCH_MS;
  }

  #connectionOf(port: number): Connection {
    const known = this.#connections.get(port);
    if (known !== undefined) return known;
    // Forgetting one only means that its windows are lowered too little.
    if (this.#connections.size >= CONNECTIONS_MAX) this.#connections.clear();
    const connection = { shift: 0, windowBytes: WINDOW_BYTES_MIN, epoch: -1 };
    this.#connections.set(port, connection);
    return connection;
  }
}

/** The window scale among the options of a SYN (RFC 7323); 0 without one. Hostile, so everything is bounded. */
function shiftOf(options: Buffer): number {
  for (let at = 0; at < options.length;) {
    const kind = options[at] ?? 0;
    const length = kind === 1 ? 1 : (options[at + 1] ?? 0);
    if (kind === 0 || length === 0) break;
    if (kind === 3 && length === 3) return Math.min(options[at + 2] ?? 0, 14);
    at += length;
  }
  return 0;
}

function lowerWindow(frame: Buffer, transport: number, windowMax: number): void {
  const window = frame.readUInt16BE(transport + 14);
  if (window <= windowMax) return;
  frame.writeUInt16BE(windowMax, transport + 14);
  // Incremental update of the checksum (RFC 1624).
  const checksum = frame.readUInt16BE(transport + 16);
  let sum = (~checksum & 0xffff) + (~window & 0xffff) + windowMax;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  frame.writeUInt16BE(~sum & 0xffff, transport + 16);
}
