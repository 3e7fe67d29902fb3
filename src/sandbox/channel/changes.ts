import { fault } from '../../contract/errors.ts';
import { assert } from '../../std/assert.ts';
import type { Snapshot } from '../driver.ts';
import { CHANGES_WINDOW_BYTES } from './credit.ts';
import { FieldWriter } from './field.ts';
import { SNAPSHOT_STEP, type SnapshotEnd, TO_GUEST } from './message.ts';
import { InboundStream } from './stream.ts';

/** Time in which a guest has to end a snapshot that is not wanted any more, and let its programs go on. */
const CANCEL_MS_MAX = 10_000;

/** Parts of the channel that the changes use. */
interface Line {
  send(kind: number, payload: Uint8Array): void;
  wait<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value>;
  fail(error: Error): void;
}

/** Changes that the guest sends. */
interface Stream {
  readonly chunks: InboundStream<Buffer>;
  readonly isSnapshot: boolean;
  /** Bytes that have arrived. */
  bytes: number;
  frozenMs: number | undefined;
  readonly ended: PromiseWithResolvers<void>;
}

/** Receives the changes of one guest: those of snapshots, one at a time, and the last ones, after which nothing runs. */
export class ChangesReader {
  /** Bytes that the run may write. */
  diskBytes = 0;
  readonly #line: Line;
  #current: Stream | undefined;
  /** The last snapshot that is complete, until it is accepted. */
  #latest: Stream | undefined;
  #asked = false;

  constructor(line: Line) {
    this.#line = line;
  }

  /** True once the last changes were asked for. */
  get asked(): boolean {
    return this.#asked;
  }

  async *last(signal: AbortSignal): AsyncGenerator<Buffer> {
    const stream = await this.#begin(false, signal);
    assert(!this.#asked, 'changes are told once');
    this.#asked = true;
    this.#line.send(TO_GUEST.changes, new Uint8Array());
    yield* this.#chunks(stream, signal);
  }

  snapshot(signal: AbortSignal): Snapshot {
    let stream: Stream | undefined;
    const begin = async (): Promise<Stream> => {
      stream = await this.#begin(true, signal);
      assert(!this.#asked, 'snapshots are taken before the last changes');
      this.#latest = undefined;
      this.#step('take');
      return stream;
    };
    return {
      changes: this.#snapshotChunks(begin, signal),
      get frozenMs() {
        return stream?.frozenMs;
      },
      accept: () => {
        assert(stream !== undefined && stream === this.#latest, 'only the last snapshot can be accepted, and once');
        this.#latest = undefined;
        this.#step('accept');
      },
    };
  }

  /** Takes what arrived. */
  take(bytes: Buffer): void {
    if (this.#current === undefined) throw fault('GUEST_PROTOCOL', { reason: 'changes nobody asked for' });
    this.#current.bytes += bytes.length;
    if (!this.#current.chunks.push(bytes, bytes)) {
      throw fault('GUEST_PROTOCOL', { reason: 'more changes than it had credit for' });
    }
  }

  /** Ends the last changes. */
  end(bytes: number, diskFull: boolean): void {
    const stream = this.#current;
    if (stream === undefined || stream.isSnapshot || bytes !== stream.bytes) throw mismatch();
    if (diskFull) throw fault('LAYER_BYTES_EXCEEDED', { limit: this.diskBytes });
    this.#finish(stream);
  }

  /** Ends a snapshot; the guest goes on, also when there is none. */
  endSnapshot({ bytes, frozenMs, failure }: SnapshotEnd): void {
    const stream = this.#current;
    if (stream === undefined || !stream.isSnapshot || (failure === '' && bytes !== stream.bytes)) throw mismatch();
    if (failure !== '') {
      this.#finish(stream, fault('SNAPSHOT_FAILED', { reason: failure }));
      return;
    }
    stream.frozenMs = frozenMs;
    this.#latest = stream;
    this.#finish(stream);
  }

  /** Ends whatever is under way. */
  break(error: Error): void {
    if (this.#current !== undefined) this.#finish(this.#current, error);
  }

  /** Begins to receive changes once no others are under way. */
  async #begin(isSnapshot: boolean, signal: AbortSignal): Promise<Stream> {
    await this.#line.wait(Promise.resolve(), signal);
    while (this.#current !== undefined) await this.#line.wait(this.#current.ended.promise, signal);
    const chunks = new InboundStream<Buffer>(CHANGES_WINDOW_BYTES, (bytes) => {
      this.#line.send(TO_GUEST.credit, new FieldWriter().u32(bytes).payload());
    });
    this.#current = { chunks, isSnapshot, bytes: 0, frozenMs: undefined, ended: Promise.withResolvers() };
    return this.#current;
  }

  #step(step: keyof typeof SNAPSHOT_STEP): void {
    this.#line.send(TO_GUEST.snapshot, new FieldWriter().u8(SNAPSHOT_STEP[step]).payload());
  }

  async *#chunks(stream: Stream, signal: AbortSignal): AsyncGenerator<Buffer> {
    while (true) {
      const { done, value } = await this.#line.wait(stream.chunks.next(), signal);
      if (done) return;
      yield value;
    }
  }

  async *#snapshotChunks(begin: () => Promise<Stream>, signal: AbortSignal): AsyncGenerator<Buffer> {
    const stream = await begin();
    try {
      yield* this.#chunks(stream, signal);
    } finally {
      if (this.#current === stream) this.#cancel(stream);
    }
  }

  /** Lets the programs go on. What still arrives is discarded. */
  #cancel(stream: Stream): void {
    this.#step('cancel');
    void stream.chunks.return();
    const late = setTimeout(() => {
      this.#line.fail(fault('GUEST_LOST', { reason: 'it did not end a snapshot' }));
    }, CANCEL_MS_MAX).unref();
    void stream.ended.promise.then(() => {
      clearTimeout(late);
    });
  }

  #finish(stream: Stream, error?: Error): void {
    this.#current = undefined;
    stream.chunks.end(error);
    stream.ended.resolve();
  }
}

function mismatch(): Error {
  return fault('GUEST_PROTOCOL', { reason: 'an end of changes that does not match them' });
}
