import type { Duplex } from 'node:stream';
import { Allowance } from './allowance.ts';
import type { FrameReader } from './frames.ts';

/** Frames of one guest after which everything else in the process gets its turn: about a millisecond. */
const FRAMES_PER_TURN = 256;
/**
 * Frames of one guest that are read per second, and at once after a pause. A frame has up to 64 KiB, so this bounds the cost
 * of a flood of small frames but no bulk transfer. The rest waits in the guest; nothing is lost.
 */
const FRAMES_PER_SECOND = 20_000;
const FRAMES_BURST = 5_000;
/** Time to wait when they are used up: that of a hundred frames. */
const REFILL_MS = 5;
const NOTHING = Buffer.alloc(0);

/** Reads the frames of a guest at a rate that is fair to all other clients of this process. */
export class Intake implements Disposable {
  readonly #stream: Duplex;
  readonly #reader: FrameReader;
  readonly #afterwards: () => void;
  readonly #allowance = new Allowance(FRAMES_PER_SECOND, FRAMES_BURST);
  #turnLeft = FRAMES_PER_TURN;
  #turn: NodeJS.Immediate | undefined;
  #refill: NodeJS.Timeout | undefined;

  /** `afterwards` is called when the reader has got all frames that have arrived, or the maximum of this turn. */
  constructor(stream: Duplex, reader: FrameReader, afterwards: () => void = () => {}) {
    this.#stream = stream;
    this.#reader = reader;
    this.#afterwards = afterwards;
    stream.on('data', this.#look);
  }

  readonly #look = (chunk: Buffer): void => {
    const allowed = this.#allowance.left;
    const count = this.#reader.push(chunk, Math.min(allowed, this.#turnLeft));
    this.#allowance.spend(count);
    this.#turnLeft -= count;
    this.#afterwards();
    this.#turn ??= setImmediate(this.#nextTurn);
    if (!this.#reader.isBehind) return;
    this.#stream.pause();
    if (count >= allowed) this.#refill ??= setTimeout(this.#goOn, REFILL_MS);
  };

  readonly #nextTurn = (): void => {
    this.#turn = undefined;
    this.#turnLeft = FRAMES_PER_TURN;
    if (this.#refill === undefined) this.#goOn();
  };

  readonly #goOn = (): void => {
    this.#refill = undefined;
    if (this.#reader.isBehind) this.#look(NOTHING);
    if (!this.#reader.isBehind && this.#stream.isPaused()) this.#stream.resume();
  };

  /** Stops reading frames; later ones are discarded. */
  [Symbol.dispose](): void {
    this.#stream.off('data', this.#look).resume();
    if (this.#turn !== undefined) clearImmediate(this.#turn);
    clearTimeout(this.#refill);
  }
}
