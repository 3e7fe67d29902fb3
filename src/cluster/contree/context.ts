import type { ConTree } from '../../contract/contree.ts';
import { fault, isFault } from '../../contract/errors.ts';
import { isFinished } from '../../contract/operation.ts';
import type { Bounds, Tenant } from '../../engine/project/tenant.ts';
import { CatalogueImages } from '../catalogue/images.ts';
import { CatalogueOperations, type CatalogueOperation } from '../catalogue/operations.ts';
import { CatalogueUploads } from '../catalogue/uploads.ts';
import type { AdoptedImage } from '../node/adoption.ts';
import type { NodeParts } from '../node/parts.ts';

/** Longest wait for an operation that a node has taken and is about to begin. */
const BEGIN_MS = 5_000;
const LOOK_MS = 500;
/** A request that nobody can abort still ends with its connection. */
const NEVER = new AbortController().signal;

/** Context that the groups of one tenant's ConTree share. */
export class ClusterContext {
  readonly parts: NodeParts;
  readonly tenant: Tenant;
  readonly images: CatalogueImages;
  readonly operations: CatalogueOperations;
  readonly uploads: CatalogueUploads;
  /** The own engine as the tenant sees it: it knows what was adopted, and what it runs itself. */
  readonly own: ConTree;

  constructor(parts: NodeParts, tenant: Tenant) {
    this.parts = parts;
    this.tenant = tenant;
    this.images = new CatalogueImages(parts.database, tenant.project);
    this.operations = new CatalogueOperations(parts.database, tenant.project);
    this.uploads = new CatalogueUploads(parts.database, tenant.project);
    this.own = parts.engine.forTenant(tenant);
  }

  get project(): string {
    return this.tenant.project;
  }

  get bounds(): Bounds {
    return this.parts.engine.boundsOf(this.tenant);
  }

  /** Makes an image available to the own engine. Faults: IMAGE_NOT_FOUND, and those of the object storage. */
  async adopted(source: string, signal: AbortSignal = NEVER): Promise<AdoptedImage> {
    return await this.parts.adoption.image(this.project, source, signal);
  }

  /** Returns the ConTree in which an operation that has ended is known: the own one, which adopts it. */
  async ended(operation: CatalogueOperation, signal: AbortSignal = NEVER): Promise<ConTree> {
    await this.parts.adoption.operation(operation, signal);
    return this.own;
  }

  /** Returns the ConTree of the node that has an operation which has begun. Faults: NODE_UNREACHABLE. */
  async live({ node }: CatalogueOperation): Promise<ConTree> {
    if (node === null || node === this.parts.identity.name) return this.own;
    return await this.parts.peers.contree(node, this.project);
  }

  /**
   * Asks the node that has an operation, or the own engine once it has ended. An operation that is about to begin is waited
   * for a while. Faults: OPERATION_NOT_FOUND, NODE_UNREACHABLE, and those of `ask`.
   */
  async asked<Answer>(uuid: string, ask: (contree: ConTree) => Promise<Answer>): Promise<Answer> {
    const startedMs = performance.now();
    const { changes } = this.parts;
    for (;;) {
      const { count } = changes;
      const operation = await this.operations.get(uuid);
      if (isFinished(operation.status)) return await ask(await this.ended(operation));
      const waits = performance.now() - startedMs < BEGIN_MS;
      const answer = await this.#askedLive(operation, ask, waits);
      if (answer !== undefined) return answer.value;
      await changes.wait(operation.uuid, { count, ms: LOOK_MS });
    }
  }

  /** Asks the node of an operation; undefined when it has not begun yet, which `waits` allows. */
  async #askedLive<Answer>(
    operation: CatalogueOperation,
    ask: (contree: ConTree) => Promise<Answer>,
    waits: boolean,
  ): Promise<{ readonly value: Answer } | undefined> {
    const { uuid, kind, status, startedAtMs } = operation;
    if (startedAtMs === null) {
      if (waits) return undefined;
      if (kind === 'instance') throw fault('INSTANCE_NOT_READY', { operation: uuid });
      throw fault('INSTANCE_NOT_RUNNING', { operation: uuid, status });
    }
    try {
      return { value: await ask(await this.live(operation)) };
    } catch (error) {
      throw reached(operation, error);
    }
  }
}

/** Returns the fault of a request to another node: one that could not be reached is named. */
export function reached({ node }: CatalogueOperation, error: unknown): unknown {
  if (!isFault(error, 'REMOTE_FAILED', 'ENGINE_UNAVAILABLE')) return error;
  return fault('NODE_UNREACHABLE', { node: node ?? '', reason: error.message }, { cause: error });
}
