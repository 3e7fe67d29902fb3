import type { Duplex } from 'node:stream';
import { fault, isFault } from '../contract/errors.ts';
import type { Channel } from './channel/index.ts';
import type { Command, Instance, InstanceFacts, NetworkUse, Outcome, Process, Snapshot } from './driver.ts';

/** Time in which a snapshot has to be read, because programs wait meanwhile. */
const SNAPSHOT_MS_MAX = 300_000;

/** Parts of an instance whose guest is reached over a channel. */
export interface ChannelInstanceParts {
  readonly channel: Channel;
  readonly network: { use(): NetworkUse };
  /** Disposes of all of the above and releases their resources. */
  readonly resources: AsyncDisposableStack;
  /** Returns the reason why the guest is gone, given the error of the channel. */
  reasonOf(error: Error): Promise<Error>;
  /** Returns the fault of a host that may have lost what the guest wrote. Asked when a command failed, and before a commit. */
  storageFault?(): Promise<Error | undefined>;
}

/** A guest that is ready for commands. */
export class ChannelInstance implements Instance {
  readonly facts: InstanceFacts;
  readonly lost: Promise<Error>;
  readonly #parts: ChannelInstanceParts;
  #disposal: Promise<void> | undefined;

  constructor(facts: InstanceFacts, parts: ChannelInstanceParts) {
    this.facts = facts;
    this.#parts = parts;
    this.lost = parts.channel.lost.then((error) => parts.reasonOf(error));
  }

  async start(command: Command, signal: AbortSignal): Promise<Process> {
    const process = await this.#explained(this.#parts.channel.start(command, signal));
    const outcome = this.#explained(this.#withStorage(process.outcome));
    outcome.catch(() => {});
    return {
      pid: process.pid,
      identity: process.identity,
      output: this.#explainedItems(process.output),
      outcome,
      write: (bytes) => this.#explained(process.write(bytes)),
      closeStdin: () => process.closeStdin(),
      kill: (number) => process.kill(number),
      resize: (columns, rows) => process.resize(columns, rows),
    };
  }

  async connect(port: number, signal: AbortSignal): Promise<Duplex> {
    return this.#explained(this.#parts.channel.connect(port, signal));
  }

  changes(signal: AbortSignal): AsyncIterable<Uint8Array> {
    return this.#explainedItems(this.#stored(this.#parts.channel.changes(signal)));
  }

  snapshot(signal: AbortSignal): Snapshot {
    const deadline = AbortSignal.timeout(SNAPSHOT_MS_MAX);
    const snapshot = this.#parts.channel.snapshot(AbortSignal.any([signal, deadline]));
    return {
      changes: this.#explainedItems(inTime(this.#stored(snapshot.changes), deadline)),
      get frozenMs() {
        return snapshot.frozenMs;
      },
      accept: () => {
        snapshot.accept();
      },
    };
  }

  networkUse(): NetworkUse {
    return this.#parts.network.use();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposal ??= this.#parts.resources.disposeAsync();
    return this.#disposal;
  }

  async #withStorage(outcome: Promise<Outcome>): Promise<Outcome> {
    const ended = await outcome;
    if (ended.exitCode !== 0) await this.#checkStorage();
    return ended;
  }

  /** Passes on what the guest wrote, unless the host may have lost some of it. */
  async *#stored(changes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    await this.#checkStorage();
    yield* changes;
  }

  async #checkStorage(): Promise<void> {
    const lost = await this.#parts.storageFault?.();
    if (lost !== undefined) throw lost;
  }

  async #explained<Value>(promise: Promise<Value>): Promise<Value> {
    try {
      return await promise;
    } catch (error) {
      throw await this.#explanation(error);
    }
  }

  async *#explainedItems<Item>(items: AsyncIterable<Item>): AsyncGenerator<Item> {
    try {
      yield* items;
    } catch (error) {
      throw await this.#explanation(error);
    }
  }

  /** The channel only knows that it was closed. */
  async #explanation(error: unknown): Promise<unknown> {
    return isFault(error, 'GUEST_LOST') && this.#disposal === undefined ? this.lost : error;
  }
}

/** Passes the changes of a snapshot on. Rejects with SNAPSHOT_FAILED when they were not read by the deadline. */
async function* inTime(changes: AsyncIterable<Uint8Array>, deadline: AbortSignal): AsyncGenerator<Uint8Array> {
  try {
    yield* changes;
  } catch (error) {
    if (!deadline.aborted || error !== deadline.reason) throw error;
    throw fault('SNAPSHOT_FAILED', { reason: `it took longer than ${SNAPSHOT_MS_MAX / 1_000} s` }, { cause: error });
  }
}
