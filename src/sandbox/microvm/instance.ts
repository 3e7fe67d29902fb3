import { fault, isFault } from '../../contract/errors.ts';
import type { Channel } from '../channel/index.ts';
import type { Command, Instance, InstanceFacts, NetworkUse, Process } from '../driver.ts';
import { endedSoon } from './ended.ts';
import type { Network } from './network/index.ts';
import type { Vmm } from './vmm.ts';

/** What one running microVM consists of. */
export interface InstanceParts {
  readonly vmm: Vmm;
  readonly channel: Channel;
  readonly network: Network;
  /** Disposes of all of the above, and gives back what was taken for them. */
  readonly resources: AsyncDisposableStack;
}

/** A restored guest that is ready for commands. */
export class MicrovmInstance implements Instance {
  readonly facts: InstanceFacts;
  readonly lost: Promise<Error>;
  readonly #parts: InstanceParts;
  #disposal: Promise<void> | undefined;

  constructor(facts: InstanceFacts, parts: InstanceParts) {
    this.facts = facts;
    this.#parts = parts;
    this.lost = parts.channel.lost.then((error) => reasonOf(error, parts));
  }

  async start(command: Command, signal: AbortSignal): Promise<Process> {
    return this.#parts.channel.start(command, signal);
  }

  changes(signal: AbortSignal): AsyncIterable<Uint8Array> {
    return this.#parts.channel.changes(signal);
  }

  networkUse(): NetworkUse {
    return this.#parts.network.use();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposal ??= this.#parts.resources.disposeAsync();
    return this.#disposal;
  }
}

/** The channel only knows that it was closed; QEMU may know more. */
async function reasonOf(error: Error, { vmm }: InstanceParts): Promise<Error> {
  if (!isFault(error, 'GUEST_LOST')) return error;
  const ended = await endedSoon(vmm);
  if (ended === undefined) return error;
  return fault('GUEST_LOST', { reason: ended.reason }, { cause: error });
}
