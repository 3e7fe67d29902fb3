import xz from 'xz-decompress';
import type { ReadPiece } from './read-piece.ts';

/** Results of xz_dec_run (xz-embedded, linux/xz.h), and what the others mean, by number. */
const XZ_OK = 0;
const XZ_STREAM_END = 1;
const ERRORS = [
  undefined,
  undefined,
  'its kind of check is not supported',
  'there is no memory for it',
  'it needs a dictionary of more than 64 MiB',
  'it is of another format',
  'it has options that are not supported',
  'it is damaged',
  'it ends too early',
] as const;
/** Words of a context: of the input its position and length, of the output its position. */
const [IN_POSITION, IN_BYTES, OUT_START, OUT_POSITION] = [2, 3, 4, 5] as const;
/** The padding between streams and after the last one is a multiple of this (xz file format 1.2.1, §2.2). */
const PADDING_BYTES = 4;

/** The program of the package: xz-embedded, whose dictionary is at most 64 MiB (`xz -9`). */
interface Decoder {
  readonly memory: { readonly buffer: ArrayBuffer };
  create_context(): number;
  destroy_context(context: number): void;
  supply_input(context: number, bytes: number): void;
  get_next_output(context: number): number;
}

/**
 * Yields the plain bytes of xz data, of all its streams. Throws for what is damaged, cut off, or followed by something else.
 */
export async function* unpackXz(read: ReadPiece): AsyncGenerator<Uint8Array> {
  const decoder = await loadDecoder();
  const input = new Input(read);
  do {
    yield* unpackStream(decoder, input);
  } while (input.skipPadding());
}

/** The package's own stream ends after the first one of a file, whatever follows; so its decoder is used directly. */
async function loadDecoder(): Promise<Decoder> {
  const { XzReadableStream } = xz as unknown as {
    XzReadableStream: { _getModuleInstance(): Promise<void>; readonly _moduleInstance: { readonly exports: Decoder } };
  };
  await XzReadableStream._getModuleInstance();
  return XzReadableStream._moduleInstance.exports;
}

function* unpackStream(decoder: Decoder, input: Input): Generator<Uint8Array> {
  const context = decoder.create_context();
  try {
    // The memory is another one once it has grown.
    const words = (): Uint32Array => new Uint32Array(decoder.memory.buffer, context);
    const bytes = (): Uint8Array => new Uint8Array(decoder.memory.buffer);
    const [size = 0, start = 0] = words();
    for (let result = XZ_OK; result === XZ_OK;) {
      const state = words();
      if (state[IN_POSITION] === state[IN_BYTES]) {
        const piece = input.take(size);
        bytes().set(piece, start);
        decoder.supply_input(context, piece.byteLength);
      }
      result = decoder.get_next_output(context);
      if (result !== XZ_OK && result !== XZ_STREAM_END) throw new Error(ERRORS[result] ?? `error ${result}`);
      const after = words();
      const from = after[OUT_START] ?? 0;
      if (after[OUT_POSITION] !== 0) yield bytes().slice(from, from + (after[OUT_POSITION] ?? 0));
      words()[OUT_POSITION] = 0;
    }
    const end = words();
    const taken = start + (end[IN_POSITION] ?? 0);
    input.giveBack(bytes().slice(taken, start + (end[IN_BYTES] ?? 0)));
  } finally {
    decoder.destroy_context(context);
  }
}

/** Input of which some can be given back. */
class Input {
  readonly #read: ReadPiece;
  #rest: Uint8Array = Buffer.alloc(0);

  constructor(read: ReadPiece) {
    this.#read = read;
  }

  /** Returns the next bytes; none at the end. */
  take(bytesMax: number): Uint8Array {
    this.#fill();
    const piece = this.#rest.subarray(0, bytesMax);
    this.#rest = this.#rest.subarray(piece.byteLength);
    return piece;
  }

  giveBack(bytes: Uint8Array): void {
    this.#rest = Buffer.concat([bytes, this.#rest]);
  }

  /** Skips the padding after a stream; returns whether something else follows. Throws for padding of a wrong length. */
  skipPadding(): boolean {
    let padding = 0;
    while (this.#fill() && this.#rest[0] === 0) {
      this.#rest = this.#rest.subarray(1);
      padding += 1;
    }
    if (padding % PADDING_BYTES !== 0) throw new Error('what follows the data is no padding');
    return this.#rest.byteLength > 0;
  }

  #fill(): boolean {
    if (this.#rest.byteLength === 0) this.#rest = this.#read() ?? this.#rest;
    return this.#rest.byteLength > 0;
  }
}
