import { setTimeout as delay } from 'node:timers/promises';
import type { NetworkedCluster, NetworkedNode } from '../support/networked.ts';
import type { Fault } from '../support/fault-proxy.ts';
import { one } from './load.ts';
import type { Random } from '../../support/random.ts';

/** Time between two faults, and for which each lasts. */
const [BETWEEN_MS, LASTS_MS] = [
  [2_000, 5_000],
  [500, 9_000],
] as const;
const HOUR_MS = 3_600_000;

/** Fault that is there from its beginning to its end. */
interface Kind {
  /** Part of the cluster that has one fault at a time. */
  readonly target: string;
  begin(): Promise<void>;
  end(): Promise<void>;
}

/** A cluster of which everything can fail. */
export interface FaultyCluster {
  readonly cluster: NetworkedCluster;
  readonly nodes: readonly NetworkedNode[];
  /** Makes all requests to the object storage have a fault; none with `{}`. */
  readonly storageFault: (fault: Fault) => void;
}

/** Faults of a cluster in random order, as the seed says, one after the other and several at once. */
export class Faults {
  /** Number of faults so far, by kind. */
  readonly counts = new Map<string, number>();
  readonly history: string[] = [];
  readonly #faulty: FaultyCluster;
  readonly #random: Random;
  readonly #startedMs = performance.now();
  readonly #ends = new Map<string, Promise<void>>();

  constructor(faulty: FaultyCluster, random: Random) {
    this.#faulty = faulty;
    this.#random = random;
  }

  get total(): number {
    return [...this.counts.values()].reduce((sum, count) => sum + count, 0);
  }

  /** Makes faults until the signal, then ends all. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const [name, make] = one(this.#random, KINDS);
      const kind = make(this.#faulty, this.#random);
      if (!this.#ends.has(kind.target)) await this.#fail(name, kind);
      await pause(msOf(this.#random, BETWEEN_MS), signal);
    }
    await Promise.all(this.#ends.values());
  }

  async #fail(name: string, kind: Kind): Promise<void> {
    const ms = msOf(this.#random, LASTS_MS);
    this.counts.set(name, (this.counts.get(name) ?? 0) + 1);
    this.history.push(
      `${((performance.now() - this.#startedMs) / 1_000).toFixed(1)} s: ${name}, ${kind.target}, ${ms} ms`,
    );
    await kind.begin();
    const ended = (async () => {
      await pause(ms);
      await kind.end();
      this.#ends.delete(kind.target);
    })();
    this.#ends.set(kind.target, ended);
  }
}

type Maker = (faulty: FaultyCluster, random: Random) => Kind;

const KINDS: readonly (readonly [string, Maker])[] = [
  ['node killed', ({ nodes }, random) => killed(one(random, nodes), 0)],
  ['node killed, clock wrong', ({ nodes }, random) => killed(one(random, nodes), one(random, [HOUR_MS, -HOUR_MS]))],
  ['node stopped and continued', ({ nodes }, random) => stopped(one(random, nodes))],
  ['node cut off from PostgreSQL', withoutDatabase],
  ['node cut off from the object storage', withoutStorage],
  ['node cut off from another', apart],
  ['PostgreSQL restarted', restarted],
  ['PostgreSQL failed over', failedOver],
  ['object storage restarted', storageRestarted],
  ['object storage answers 503', (faulty) => storage(faulty, { status: 503 })],
  ['object storage sends wrong bytes', (faulty) => storage(faulty, { flip: 'answer' })],
  ['object storage gets wrong bytes', (faulty) => storage(faulty, { flip: 'request' })],
  ['object storage hangs', (faulty) => storage(faulty, { hang: true })],
  ['object storage breaks off', (faulty) => storage(faulty, { cut: 'after' })],
];

function killed(node: NetworkedNode, clockErrorMs: number): Kind {
  return {
    target: `process of ${node.name}`,
    begin: () => node.signal('SIGKILL'),
    end: () => startedAgain(node, clockErrorMs),
  };
}

/** Starts a node as its supervisor does: until it succeeds. */
async function startedAgain(node: NetworkedNode, clockErrorMs: number): Promise<void> {
  for (;;) {
    try {
      await node.start(clockErrorMs);
      return;
    } catch {
      // PostgreSQL may be away.
      await pause(500);
    }
  }
}

function stopped(node: NetworkedNode): Kind {
  return {
    target: `process of ${node.name}`,
    begin: () => node.signal('SIGSTOP'),
    end: () => node.signal('SIGCONT'),
  };
}

function withoutDatabase({ cluster: { network }, nodes }: FaultyCluster, random: Random): Kind {
  const { name, host } = one(random, nodes);
  return {
    target: `${name} to PostgreSQL`,
    begin: () => network.cutFloating(host),
    end: () => network.healFloating(host),
  };
}

function withoutStorage({ cluster: { network, objectsHost }, nodes }: FaultyCluster, random: Random): Kind {
  const { name, host } = one(random, nodes);
  return {
    target: `${name} to the object storage`,
    begin: () => network.cut(host, objectsHost),
    end: () => network.heal(host, objectsHost),
  };
}

function apart({ cluster: { network }, nodes }: FaultyCluster, random: Random): Kind {
  const left = one(random, nodes);
  const right = one(
    random,
    nodes.filter((node) => node !== left),
  );
  return {
    target: [left.name, right.name].toSorted().join(' to '),
    begin: () => network.cut(left.host, right.host),
    end: () => network.heal(left.host, right.host),
  };
}

/** The restart lasts as long as the fault. */
function restarted({ cluster: { postgres } }: FaultyCluster): Kind {
  const { promise: over, resolve } = Promise.withResolvers<void>();
  let restarting: Promise<void> | undefined;
  return {
    target: 'PostgreSQL',
    begin: async () => {
      restarting = postgres.restart(() => over);
    },
    end: async () => {
      resolve();
      await restarting;
    },
  };
}

function failedOver({ cluster: { postgres } }: FaultyCluster): Kind {
  return { target: 'PostgreSQL', begin: () => postgres.failOver(), end: async () => undefined };
}

function storageRestarted({ cluster: { objects } }: FaultyCluster): Kind {
  return { target: 'object storage', begin: () => objects.stop(), end: () => objects.start() };
}

function storage({ storageFault }: FaultyCluster, fault: Fault): Kind {
  return {
    target: 'object storage',
    begin: async () => storageFault(fault),
    end: async () => storageFault({}),
  };
}

function msOf(random: Random, [from, to]: readonly [number, number]): number {
  return from + random.below(to - from);
}

/** Waits, at most until the signal. */
async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  // For what no event announces: the time that a fault lasts.
  await delay(ms, undefined, { ...(signal && { signal }) }).catch(() => undefined);
}
