import { type Duplex, duplexPair } from 'node:stream';
import { once } from 'node:events';
import { Channel } from '../../../src/sandbox/channel/index.ts';
import { FieldWriter } from '../../../src/sandbox/channel/field.ts';
import { encodeFrame, type Frame, FrameDecoder } from '../../../src/sandbox/channel/frame.ts';
import { TO_GUEST } from '../../../src/sandbox/channel/message.ts';
import { golden } from './golden.ts';

/** Kinds that tests name. */
export const SAYS = {
  started: 0x83,
  stdout: 0x84,
  stderr: 0x85,
  outputEnd: 0x86,
  exited: 0x87,
  stdinCredit: 0x88,
  changesData: 0x89,
  changesEnd: 0x8a,
  snapshotEnd: 0x8d,
  fault: 0x8c,
  connected: 0x8e,
  disconnected: 0x8f,
} as const;

const EMPTY = Buffer.alloc(0);

export function fields(): FieldWriter {
  return new FieldWriter();
}

/** Payload of EXITED for a process that returned normally. */
export function exited(exitCode: number): Buffer {
  const writer = fields().u32(exitCode).u32(0xffff_ffff).u8(0);
  for (let number = 0; number < 10; number += 1) writer.u64(0);
  return writer.payload();
}

/** The guest's end of a channel, which sends what the test wants, correct or not. */
export class ScriptedGuest implements Disposable {
  readonly channel: Channel;
  readonly #stream: Duplex;
  readonly #decoder = new FrameDecoder();
  readonly #frames: Frame[] = [];
  #arrived = Promise.withResolvers<void>();

  constructor() {
    const [host, guest] = duplexPair();
    this.channel = new Channel(host);
    this.#stream = guest;
    // The host closes the channel of a guest that breaks the protocol, which half of the tests are about.
    guest.on('error', () => undefined);
    guest.on('data', (chunk: Buffer) => {
      this.#frames.push(...this.#decoder.push(chunk));
      this.#arrived.resolve();
      this.#arrived = Promise.withResolvers<void>();
    });
  }

  /** Sends one byte this many times, all in one write. */
  flood(kind: keyof typeof SAYS, process: number, times: number): void {
    const frame = encodeFrame(SAYS[kind], process, Buffer.from('x'));
    this.#stream.write(Buffer.concat(Array.from({ length: times }, () => frame)));
  }

  /** Returns the next frame from the host. */
  async receive(): Promise<Frame> {
    while (this.#frames.length === 0) await this.#arrived.promise;
    return this.#frames.shift()!;
  }

  /** Returns the next frame, which must be of this kind. */
  async expect(kind: keyof typeof TO_GUEST): Promise<Frame> {
    const frame = await this.receive();
    if (frame.kind !== TO_GUEST[kind]) throw new Error(`expected ${kind}, not a frame of kind ${frame.kind}`);
    return frame;
  }

  get unread(): number {
    return this.#frames.length;
  }

  write(bytes: Uint8Array): void {
    this.#stream.write(bytes);
  }

  say(kind: keyof typeof SAYS, process: number, payload: Uint8Array = EMPTY): void {
    this.write(encodeFrame(SAYS[kind], process, payload));
  }

  sayGolden(name: string): void {
    this.write(golden(name));
  }

  /** Ends like a machine that loses power. */
  async cut(): Promise<void> {
    this.#stream.destroy();
    await once(this.#stream, 'close');
  }

  [Symbol.dispose](): void {
    this.channel[Symbol.dispose]();
    this.#stream.destroy();
  }
}
