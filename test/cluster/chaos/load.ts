import { text } from 'node:stream/consumers';
import { defined } from '../../../src/std/assert.ts';
import { isFault } from '../../../src/contract/errors.ts';
import type { NetworkedNode } from '../support/networked.ts';
import type { Random } from '../../support/random.ts';

/** Longest that a client waits for one operation; what goes on longer is judged at the end. */
const PATIENCE_MS = 30_000;
/** Results that get a tag, and those that are read by a node at once. */
const [TAGGED_PERCENT, READ_PERCENT] = [20, 30];
/** Runs that take seconds. */
const LONG_PERCENT = 20;
/** Results that later runs begin with. */
const PARENTS_MAX = 40;
/** Runs after which a chain begins anew, so that images have few layers. */
const DEPTH_MAX = 12;
const PATH = '/token';

/** Answers that clients of the cluster got. */
export interface Told {
  /** Operations that were accepted, with what they write. */
  readonly accepted: Map<string, string>;
  /** Images of operations that a client saw succeed. */
  readonly images: Map<string, string>;
  readonly tags: Map<string, string>;
  /** Requests that a fault had no answer for, by error code. */
  readonly refused: Map<string, number>;
  /** Answers that must never be given. */
  readonly violations: string[];
}

interface Parent {
  readonly image: string;
  readonly depth: number;
}

/** Clients that start runs, branches of earlier results, and tags, each at a random node, whatever happens. */
export class Load {
  readonly told: Told = {
    accepted: new Map(),
    images: new Map(),
    tags: new Map(),
    refused: new Map(),
    violations: [],
  };
  readonly #nodes: readonly NetworkedNode[];
  readonly #random: Random;
  readonly #root: Parent;
  readonly #parents: Parent[];
  #count = 0;

  constructor(nodes: readonly NetworkedNode[], root: string, random: Random) {
    this.#nodes = nodes;
    this.#random = random;
    this.#root = { image: root, depth: 0 };
    this.#parents = [this.#root];
  }

  /** Runs so many clients until the signal. */
  async run(clients: number, signal: AbortSignal): Promise<void> {
    await Promise.all(Array.from({ length: clients }, () => this.#client(signal)));
  }

  async #client(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#step();
      } catch (error) {
        const code = isFault(error) ? error.code : (error as Error).name;
        this.told.refused.set(code, (this.told.refused.get(code) ?? 0) + 1);
        // A client of a node that refuses connections would try without end.
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
  }

  async #step(): Promise<void> {
    const { contree } = this.#node();
    const parent = one(this.#random, this.#parents);
    const token = `token-${(this.#count += 1)}`;
    const command = `sleep ${this.#random.below(100) < LONG_PERCENT ? 1 + this.#random.below(5) : 0}; echo ${token} > ${PATH}`;
    const request = { command, shell: true, image: parent.image };
    const { uuid } = await contree.runs.start(request);
    this.told.accepted.set(uuid, token);
    const signal = AbortSignal.timeout(PATIENCE_MS);
    for await (const { type } of contree.operations.events(uuid, { follow: true }, signal))
      if (type === 'completion') break;
    const { status, result } = await contree.operations.get(uuid);
    const image = result?.image;
    if (status !== 'SUCCESS' || image === undefined || image === null) return;
    this.told.images.set(uuid, image);
    this.#keep({ image, depth: parent.depth + 1 });
    if (this.#random.below(100) < TAGGED_PERCENT) await this.#tag(image, `tag-of-${token}`);
    if (this.#random.below(100) < READ_PERCENT) await this.#read(uuid, image, token);
  }

  async #tag(image: string, tag: string): Promise<void> {
    await this.#node().contree.tags.set(image, { tag });
    this.told.tags.set(tag, image);
  }

  async #read(uuid: string, image: string, token: string): Promise<void> {
    const node = this.#node();
    const content = await contentOf(node, image);
    if (content !== token)
      this.told.violations.push(`${node.name} reads ${content} in ${image} of ${uuid}, not ${token}`);
  }

  #keep(parent: Parent): void {
    this.#parents.push(parent.depth < DEPTH_MAX ? parent : this.#root);
    if (this.#parents.length > PARENTS_MAX) this.#parents.splice(this.#random.below(PARENTS_MAX), 1);
  }

  #node(): NetworkedNode {
    return one(this.#random, this.#nodes);
  }
}

/** Returns one of several. */
export function one<Value>(random: Random, values: readonly Value[]): Value {
  return defined(values[random.below(values.length)], 'there are several');
}

/** Returns what a run has written into an image, as a node reads it. */
export async function contentOf({ contree }: NetworkedNode, image: string): Promise<string> {
  const { body } = await contree.files.read(image, { path: PATH });
  return (await text(body)).trim();
}
