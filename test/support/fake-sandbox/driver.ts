import type { Duplex } from 'node:stream';
import { assert } from '../../../src/std/assert.ts';
import type {
  BootSpec,
  Command,
  DriverCheck,
  DriverGarbage,
  Instance,
  InstanceFacts,
  NetworkUse,
  Process,
  SandboxDriver,
  Snapshot,
} from '../../../src/sandbox/driver.ts';
import { FakeGuest } from './guest.ts';
import type { Serve } from './ports.ts';

/** Hooks with which a test delays or fails steps of the fake. */
export interface FakeHooks {
  /** Called before an instance is ready; its failure is the boot's. */
  readonly beforeBoot?: (spec: BootSpec, signal: AbortSignal) => Promise<void>;
  /** Network that each run seems to have used. */
  readonly networkUse?: NetworkUse;
  /** Runs before changes are streamed. */
  readonly beforeChanges?: (signal: AbortSignal) => Promise<void>;
  /** Servers that listen in every guest, by port. */
  readonly servers?: ReadonlyMap<number, Serve>;
  /** The passwd of every image. */
  readonly passwd?: string;
  /** Runs before a snapshot is streamed. */
  readonly beforeSnapshot?: (signal: AbortSignal) => Promise<void>;
}

/**
 * A sandbox driver without a sandbox: commands are a few small programs that run in this process (`programs.ts`), files
 * are kept in memory. For tests of code that uses drivers. It isolates nothing, and its results say so.
 */
export class FakeDriver implements SandboxDriver {
  readonly name = 'fake';
  readonly #hooks: FakeHooks;
  readonly #instances = new Set<FakeInstance>();
  #disposed = false;

  constructor(hooks: FakeHooks = {}) {
    this.#hooks = hooks;
  }

  /** Number of instances that have not been disposed. */
  get live(): number {
    return this.#instances.size;
  }

  async warm(): Promise<void> {}

  async start(spec: BootSpec, signal: AbortSignal): Promise<Instance> {
    signal.throwIfAborted();
    assert(!this.#disposed, 'a disposed driver starts nothing');
    const startedMs = performance.now();
    await this.#hooks.beforeBoot?.(spec, signal);
    signal.throwIfAborted();
    const instance = new FakeInstance(spec, this.#hooks, performance.now() - startedMs, (gone) =>
      this.#instances.delete(gone),
    );
    this.#instances.add(instance);
    return instance;
  }

  async kindOf(): Promise<'none'> {
    return 'none';
  }

  async collect(): Promise<DriverGarbage> {
    const nothing = { memoryBytes: 0, diskBytes: 0 };
    return { templates: 0, freed: nothing, used: nothing };
  }

  async inspect(): Promise<DriverCheck[]> {
    return [{ name: 'sandbox', status: 'warning', detail: 'the fake driver isolates nothing; it is for tests' }];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed = true;
    for (const instance of this.#instances) await instance[Symbol.asyncDispose]();
  }
}

class FakeInstance implements Instance {
  readonly facts: InstanceFacts;
  readonly lost: Promise<Error>;
  readonly #guest: FakeGuest;
  readonly #hooks: FakeHooks;
  readonly #onDispose: (instance: FakeInstance) => void;
  #streamed = false;
  #disposed = false;

  constructor(spec: BootSpec, hooks: FakeHooks, bootMs: number, onDispose: (instance: FakeInstance) => void) {
    this.#guest = new FakeGuest(spec, hooks.servers, hooks.passwd);
    this.#hooks = hooks;
    this.#onDispose = onDispose;
    this.lost = this.#guest.lost;
    this.facts = {
      sandbox: 'none',
      accelerator: 'none',
      jail: { parts: [], missing: ['everything: the fake driver isolates nothing'] },
      kernel: 'fake',
      bootId: this.#guest.bootId,
      stepsMs: { restore: bootMs, mount: 0 },
    };
  }

  async start(command: Command, signal: AbortSignal): Promise<Process> {
    signal.throwIfAborted();
    assert(!this.#disposed, 'a disposed instance starts nothing');
    return this.#guest.start(command);
  }

  async *changes(signal: AbortSignal): AsyncIterable<Uint8Array> {
    assert(!this.#streamed, 'changes are streamed once');
    this.#streamed = true;
    await this.#guest.end();
    await this.#hooks.beforeChanges?.(signal);
    for (const chunk of this.#guest.files.changes().tar) {
      signal.throwIfAborted();
      yield chunk;
    }
  }

  async connect(port: number, signal: AbortSignal): Promise<Duplex> {
    signal.throwIfAborted();
    assert(!this.#disposed, 'a disposed instance has no ports');
    return this.#guest.connect(port);
  }

  snapshot(signal: AbortSignal): Snapshot {
    const [guest, hooks] = [this.#guest, this.#hooks];
    let taken: ReturnType<FakeGuest['files']['changes']> | undefined;
    let frozenMs: number | undefined;
    async function* changes(): AsyncGenerator<Uint8Array> {
      assert(taken === undefined, 'a snapshot is read once');
      if (guest.gone !== undefined) throw guest.gone;
      await hooks.beforeSnapshot?.(signal);
      signal.throwIfAborted();
      taken = guest.files.changes();
      for (const chunk of taken.tar) {
        signal.throwIfAborted();
        yield chunk;
      }
      frozenMs = 0;
    }
    return {
      changes: changes(),
      get frozenMs() {
        return frozenMs;
      },
      accept: () => {
        assert(taken !== undefined && frozenMs !== undefined, 'only a snapshot that was read is accepted');
        taken.accept();
      },
    };
  }

  networkUse(): NetworkUse {
    return this.#hooks.networkUse ?? { rxBytes: 0, rxPackets: 0, txBytes: 0, txPackets: 0, dropped: 0, refused: [] };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#disposed) return;
    this.#disposed = true;
    await this.#guest.end();
    this.#onDispose(this);
  }
}
