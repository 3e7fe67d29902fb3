import type { Duplex } from 'node:stream';
import type { Address } from '../../../std/ip/address.ts';
import { TCP_FLAG, type Packet } from '../packet.ts';
import type { Endpoints, Segment } from '../reply.ts';
import { Connection, type Far, type Link } from './connection.ts';

export interface RelayOptions {
  /** Payload of the largest segment that fits into a frame. */
  readonly segmentBytesMax: number;
  /** Opens a connection to a permitted destination of the guest. */
  readonly dial: (address: Address, port: number) => Far;
  readonly send: (between: Endpoints, segment: Segment) => void;
  /** Reports whether the guest's end of the link takes more. */
  readonly hasRoom: () => boolean;
}

/** Limit of connections. Each is a socket of the host until the bytes of the guest are flushed. */
const STREAMS_MAX = 512;
/**
 * Limit of the bytes that one connection holds in each direction, and the amount that many of them share. 512 slow ones hold
 * about 50 MiB in each direction, because later ones get less.
 */
const SHARE_BYTES_MAX = 256 * 1024;
const SHARED_BYTES = 16 * 1024 * 1024;
const CHECK_MS = 250;

/**
 * The TCP connections of one guest, each joined to a socket of the host. The host's own TCP runs on the network outside; the
 * guest's TCP ends here, on a link without loss or delay.
 */
export class TcpRelay implements Disposable {
  readonly #options: RelayOptions;
  readonly #connections = new Map<string, Connection>();
  /** Connections to acknowledge once the segments that have arrived are read. */
  readonly #owed = new Set<Connection>();
  readonly #waiting = new Set<Connection>();
  /** Far ends that are not closed. Some outlive their connection until their bytes are flushed. */
  readonly #streams = new Set<Duplex>();
  #checks: NodeJS.Timeout | undefined;

  constructor(options: RelayOptions) {
    this.#options = options;
  }

  /** Takes a segment. Returns false when it belongs to no connection and must be refused. Callers call `flush` afterwards. */
  receive(frame: Buffer, packet: Packet): boolean {
    const key = keyOf(packet);
    const known = this.#connections.get(key);
    if (known !== undefined && !known.isSupersededBy(frame, packet)) {
      if (known.receive(frame, packet, performance.now())) this.#owed.add(known);
      return true;
    }
    known?.abandon();
    const begins = (packet.flags & (TCP_FLAG.syn | TCP_FLAG.ack | TCP_FLAG.rst)) === TCP_FLAG.syn;
    if (!begins || this.#streams.size >= STREAMS_MAX) return false;
    this.#open(key, frame, packet);
    return true;
  }

  #open(key: string, frame: Buffer, packet: Packet): void {
    const { segmentBytesMax, dial, send, hasRoom } = this.#options;
    const link: Link = {
      segmentBytesMax,
      send,
      hasRoom: (waiting) => {
        const room = hasRoom();
        if (!room) this.#waiting.add(waiting);
        return room;
      },
      shareBytes: () => Math.min(SHARE_BYTES_MAX, SHARED_BYTES / this.#streams.size),
      closed: (connection) => this.#forget(key, connection),
    };
    const far = dial(packet.destination.slice(), packet.destinationPort);
    this.#streams.add(far.stream);
    far.stream.once('close', () => this.#streams.delete(far.stream));
    this.#connections.set(key, new Connection(link, far, frame, packet));
    this.#checks ??= setInterval(() => this.#check(), CHECK_MS).unref();
  }

  #forget(key: string, connection: Connection): void {
    this.#owed.delete(connection);
    this.#waiting.delete(connection);
    if (this.#connections.get(key) !== connection) return;
    this.#connections.delete(key);
    if (this.#connections.size > 0) return;
    clearInterval(this.#checks);
    this.#checks = undefined;
  }

  #check(): void {
    const nowMs = performance.now();
    for (const connection of this.#connections.values()) connection.check(nowMs);
  }

  /** Acknowledges received bytes, once per connection, however many segments came together. */
  flush(): void {
    for (const connection of this.#owed) connection.acknowledge();
    this.#owed.clear();
  }

  /** The guest's end takes more. */
  resume(): void {
    // A connection that still waits after its turn is queued behind the others.
    for (const connection of this.#waiting) {
      if (!this.#options.hasRoom()) return;
      this.#waiting.delete(connection);
      connection.pump();
    }
  }

  [Symbol.dispose](): void {
    for (const connection of this.#connections.values()) connection.abandon();
    for (const stream of this.#streams) stream.destroy();
    clearInterval(this.#checks);
  }
}

function keyOf({ sourcePort, destinationPort, destination }: Packet): string {
  return `${sourcePort}>${destination[0]}.${destination[1]}.${destination[2]}.${destination[3]}:${destinationPort}`;
}
