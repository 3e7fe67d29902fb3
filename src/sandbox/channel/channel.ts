import type { Duplex } from 'node:stream';
import { fault, isFault } from '../../contract/errors.ts';
import { limits } from '../../contract/limits.ts';
import { untilAborted } from '../../std/abort.ts';
import { assert } from '../../std/assert.ts';
import type { Command, Snapshot } from '../driver.ts';
import { ChangesReader } from './changes.ts';
import { ChannelConnection } from './connection.ts';
import { FieldWriter } from './field.ts';
import { encodeFrame, FrameDecoder, PAYLOAD_BYTES_MAX } from './frame.ts';
import {
  decodeMessage,
  encodeCommand,
  encodeSetup,
  type GuestHello,
  type GuestMessage,
  type GuestReady,
  type GuestSetup,
  type NumberedMessage,
  TO_GUEST,
} from './message.ts';
import { Numbers } from './numbers.ts';
import { ChannelProcess } from './process.ts';

const SIGKILL = 9;
/** Number of frames in one piece of the stream above which it counts as a flood. Regular data comes in larger frames. */
const FRAMES_PER_PIECE = 500;

/** Answers of which each comes once. */
interface Answers {
  readonly hello: GuestHello;
  readonly ready: GuestReady;
}

/**
 * The host's end of the channel to one guest (docs/guest-protocol.md).
 *
 * Everything that arrives is hostile: a frame that breaks the protocol ends the channel with GUEST_PROTOCOL, the end of the
 * stream with GUEST_LOST, and either of them ends every process and every wait. Owns the stream.
 */
export class Channel implements Disposable {
  /** Resolves when the channel ends without having been disposed; never rejects. */
  readonly lost: Promise<Error>;
  readonly #stream: Duplex;
  readonly #decoder = new FrameDecoder();
  readonly #lost = Promise.withResolvers<Error>();
  /** Rejects the current waits. A promise that all of them raced would retain every value until the channel ends. */
  readonly #waits = new Set<(reason: unknown) => void>();
  readonly #hello = Promise.withResolvers<GuestHello>();
  readonly #ready = Promise.withResolvers<GuestReady>();
  readonly #answered = new Set<keyof Answers>();
  readonly #numbers = new Numbers<ChannelProcess | ChannelConnection>();
  #setupAsked = false;
  readonly #changes = new ChangesReader({
    send: (kind, payload) => {
      this.#send(kind, 0, payload);
    },
    wait: (promise, signal) => this.#wait(promise, signal),
    fail: (error) => {
      this.#fail(error);
    },
  });
  #failure: Error | undefined;

  constructor(stream: Duplex) {
    this.#stream = stream;
    this.lost = this.#lost.promise;
    for (const { promise } of [this.#hello, this.#ready]) promise.catch(() => undefined);
    stream.on('data', (chunk: Buffer) => {
      this.#receive(chunk);
    });
    stream.on('error', (error) => {
      this.#fail(fault('GUEST_LOST', { reason: `the channel failed: ${error.message}` }));
    });
    stream.on('close', () => {
      this.#fail(fault('GUEST_LOST', { reason: 'the channel was closed' }));
    });
    stream.on('end', () => {
      this.#fail(fault('GUEST_LOST', { reason: 'the channel was closed' }));
    });
    // A guest that ended before sends no event any more.
    if (stream.destroyed || stream.readableEnded) this.#fail(fault('GUEST_LOST', { reason: 'the channel was closed' }));
  }

  /** Resolves when a booting guest waits to be saved or set up. */
  async hello(signal: AbortSignal): Promise<GuestHello> {
    return this.#wait(this.#hello.promise, signal);
  }

  /** Turns the guest into the machine of this run. Called once, before anything is started. */
  async setup(setup: GuestSetup, signal: AbortSignal): Promise<GuestReady> {
    assert(!this.#setupAsked, 'a guest is set up once');
    this.#setupAsked = true;
    this.#changes.diskBytes = setup.diskBytes;
    const now = BigInt(Math.round((performance.timeOrigin + performance.now()) * 1e3)) * 1_000n;
    this.#send(TO_GUEST.setup, 0, encodeSetup(setup, now));
    return this.#wait(this.#ready.promise, signal);
  }

  /** Resolves once the program runs or has failed to start; then its outcome is 126 or 127. */
  async start(command: Command, signal: AbortSignal): Promise<ChannelProcess> {
    this.#admit(signal);
    const payload = encodeCommand(command);
    let id = 0;
    const process = this.#numbers.add((number) => {
      id = number;
      return new ChannelProcess(command, (kind, bytes) => this.#send(kind, number, bytes));
    });
    const last = Math.floor(Math.max(0, payload.length - 1) / PAYLOAD_BYTES_MAX) * PAYLOAD_BYTES_MAX;
    for (let from = 0; from < last; from += PAYLOAD_BYTES_MAX) {
      this.#send(TO_GUEST.startPart, id, payload.subarray(from, from + PAYLOAD_BYTES_MAX));
    }
    this.#send(TO_GUEST.start, id, payload.subarray(last));
    try {
      return await this.#wait(process.started, signal);
    } catch (error) {
      // The caller has no reference to the process, so it must neither run on nor wait for a reader.
      void process.output.return();
      void process.kill(SIGKILL);
      throw error;
    }
  }

  /**
   * Resolves with a TCP connection to a port at which a program of the guest listens, on loopback or elsewhere. Rejects with
   * PORT_UNREACHABLE or CONNECTION_LIMIT.
   */
  async connect(port: number, signal: AbortSignal): Promise<Duplex> {
    this.#admit(signal);
    const connections = [...this.#numbers].filter((owner) => owner instanceof ChannelConnection);
    if (connections.length >= limits.portConnectionsMax) {
      throw fault('CONNECTION_LIMIT', { limit: limits.portConnectionsMax });
    }
    const connection = this.#numbers.add((number) => {
      this.#send(TO_GUEST.connect, number, new FieldWriter().u16(port).payload());
      return new ChannelConnection(port, (kind, bytes) => this.#send(kind, number, bytes));
    });
    const deadline = AbortSignal.timeout(limits.portConnectMsMax);
    try {
      return await this.#wait(connection.connected, AbortSignal.any([signal, deadline]));
    } catch (error) {
      connection.destroy();
      if (signal.aborted || !deadline.aborted) throw error;
      const reason = `nothing answered within ${limits.portConnectMsMax / 1_000} s`;
      throw fault('PORT_UNREACHABLE', { port, reason }, { cause: error });
    }
  }

  /** Throws when no process or connection may begin any more. */
  #admit(signal: AbortSignal): void {
    signal.throwIfAborted();
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#changes.asked) throw fault('GUEST_LOST', { reason: 'its processes were ended to save what it wrote' });
  }

  /**
   * Ends every process and, when their output was read, yields the tar of the changes. Throws LAYER_BYTES_EXCEEDED when the
   * disk is full.
   * Called once. If the reader stops early, the guest keeps waiting and has to be disposed of.
   */
  changes(signal: AbortSignal): AsyncGenerator<Buffer> {
    return this.#changes.last(signal);
  }

  /** Begins when its changes are read, after snapshots that are under way. */
  snapshot(signal: AbortSignal): Snapshot {
    return this.#changes.snapshot(signal);
  }

  /** Ends the channel in any state; `lost` does not resolve. */
  [Symbol.dispose](): void {
    this.#end(fault('GUEST_LOST', { reason: 'the instance was disposed of' }));
  }

  async #wait<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
    signal.throwIfAborted();
    const broken = Promise.withResolvers<never>();
    if (this.#failure !== undefined) broken.reject(this.#failure);
    this.#waits.add(broken.reject);
    try {
      return await untilAborted(Promise.race([promise, broken.promise]), signal);
    } finally {
      this.#waits.delete(broken.reject);
    }
  }

  #send(kind: number, process: number, payload: Uint8Array): void {
    if (this.#failure === undefined) this.#stream.write(encodeFrame(kind, process, payload));
  }

  #receive(chunk: Buffer): void {
    if (this.#failure !== undefined) return;
    const startedMs = performance.now();
    let frames = 0;
    try {
      for (const frame of this.#decoder.push(chunk)) {
        frames += 1;
        this.#handle(frame.process, decodeMessage(frame));
      }
    } catch (error) {
      if (!isFault(error)) throw error;
      this.#fail(error);
    }
    if (frames > FRAMES_PER_PIECE) this.#rest(performance.now() - startedMs);
  }

  /** Pauses reading for as long as the last piece took, so that a flood takes at most half of a core, in small turns. */
  #rest(ms: number): void {
    this.#stream.pause();
    setTimeout(() => this.#stream.resume(), Math.ceil(ms)).unref();
  }

  #handle(id: number, message: GuestMessage): void {
    switch (message.kind) {
      case 'hello':
        this.#answer('hello', () => this.#hello.resolve({ kernel: message.kernel, agent: message.agent }));
        break;
      case 'ready':
        if (!this.#setupAsked) throw fault('GUEST_PROTOCOL', { reason: '"ready" before it was set up' });
        this.#answer('ready', () => this.#ready.resolve({ bootId: message.bootId, stepsMs: message.stepsMs }));
        break;
      case 'changesData':
        this.#changes.take(message.bytes);
        break;
      case 'changesEnd':
        this.#changes.end(message.bytes, message.diskFull);
        break;
      case 'snapshotEnd':
        this.#changes.endSnapshot(message);
        break;
      case 'fault':
        throw message.code === 'diskFull'
          ? fault('LAYER_BYTES_EXCEEDED', { limit: this.#changes.diskBytes })
          : fault('GUEST_LOST', { reason: `the guest gave up: ${message.reason}` });
      default:
        this.#pass(id, message);
    }
  }

  #pass(id: number, message: NumberedMessage): void {
    const owner = this.#numbers.get(id);
    if (owner === undefined) throw fault('GUEST_PROTOCOL', { reason: `"${message.kind}" of an unknown process` });
    owner.handle(message);
    this.#numbers.settle(id);
  }

  #answer(kind: keyof Answers, resolve: () => void): void {
    if (this.#answered.has(kind)) throw fault('GUEST_PROTOCOL', { reason: `"${kind}" twice` });
    this.#answered.add(kind);
    resolve();
  }

  #fail(error: Error): void {
    if (this.#failure !== undefined) return;
    this.#end(error);
    this.#lost.resolve(error);
  }

  #end(error: Error): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#stream.destroy();
    for (const reject of this.#waits) reject(error);
    this.#changes.break(error);
    for (const owner of this.#numbers.clear()) owner.fail(error);
  }
}
