import { fault, isFault } from '../../../contract/errors.ts';
import type { Channel } from '../../channel/index.ts';
import type { Command, Instance, InstanceFacts, NetworkUse, Process } from '../../driver.ts';
import type { Network } from '../../network/index.ts';
import type { WriteFailure } from './qmp.ts';
import { endedSoon, type Vmm } from './vmm.ts';

/** What one running microVM consists of. */
export interface InstanceParts {
  readonly vmm: Vmm;
  readonly channel: Channel;
  readonly network: Network;
  /** What the run may write. */
  readonly diskBytes: number;
  /** Disposes of all of the above, and gives back what was taken for them. */
  readonly resources: AsyncDisposableStack;
}

/** A restored guest that is ready for commands. */
export class MicrovmInstance implements Instance {
  readonly facts: InstanceFacts;
  readonly lost: Promise<Error>;
  readonly #parts: InstanceParts;
  #writeFailure: Error | undefined;
  #disposal: Promise<void> | undefined;

  constructor(facts: InstanceFacts, parts: InstanceParts) {
    this.facts = facts;
    this.#parts = parts;
    this.lost = parts.channel.lost.then((error) => this.#reasonOf(error));
    void parts.vmm.qmp.writeFailed.then((failure) => this.#stop(failure));
  }

  async start(command: Command, signal: AbortSignal): Promise<Process> {
    const process = await this.#explained(this.#parts.channel.start(command, signal));
    const outcome = this.#explained(process.outcome);
    outcome.catch(() => {});
    return {
      pid: process.pid,
      output: this.#explainedItems(process.output),
      outcome,
      write: (bytes) => this.#explained(process.write(bytes)),
      closeStdin: () => process.closeStdin(),
      kill: (number) => process.kill(number),
      resize: (columns, rows) => process.resize(columns, rows),
    };
  }

  changes(signal: AbortSignal): AsyncIterable<Uint8Array> {
    return this.#explainedItems(this.#parts.channel.changes(signal));
  }

  networkUse(): NetworkUse {
    return this.#parts.network.use();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposal ??= this.#parts.resources.disposeAsync();
    return this.#disposal;
  }

  /** The guest must not go on as if its disk held what it wrote. */
  #stop({ noSpace, reason }: WriteFailure): void {
    const { vmm, diskBytes } = this.#parts;
    if (noSpace) this.#writeFailure = fault('DISK_FULL', {});
    else if (reason === 'File too large') this.#writeFailure = fault('LAYER_BYTES_EXCEEDED', { limit: diskBytes });
    else this.#writeFailure = fault('GUEST_LOST', { reason: `the host cannot write its disk: ${reason}` });
    vmm.agent.destroy();
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

  /** QEMU may know more. */
  async #reasonOf(error: Error): Promise<Error> {
    if (this.#writeFailure !== undefined) return this.#writeFailure;
    if (!isFault(error, 'GUEST_LOST')) return error;
    const ended = await endedSoon(this.#parts.vmm);
    return ended === undefined ? error : fault('GUEST_LOST', { reason: ended.reason }, { cause: error });
  }
}
