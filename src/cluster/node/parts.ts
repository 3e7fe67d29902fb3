import type { Engine } from '../../engine/engine.ts';
import type { EngineLog } from '../../engine/log.ts';
import type { Store } from '../../store/store.ts';
import type { ClusterDatabase } from '../catalogue/database.ts';
import type { CatalogueObjects } from '../catalogue/objects.ts';
import type { NodeIdentity, Queue } from '../queue/queue.ts';
import type { Adoption } from './adoption.ts';
import type { OperationChanges } from './changes.ts';
import type { HeldClaims } from './held-claims.ts';
import type { Peers } from './peers.ts';
import type { ClusterSecret } from './seal.ts';

/** Parts of a node that its ConTree, its worker and its publications share. */
export interface NodeParts {
  readonly identity: NodeIdentity;
  readonly database: ClusterDatabase;
  readonly objects: CatalogueObjects;
  readonly store: Store;
  readonly engine: Engine;
  readonly adoption: Adoption;
  readonly claims: HeldClaims;
  readonly changes: OperationChanges;
  readonly peers: Peers;
  readonly secret: ClusterSecret;
  readonly queue: Queue;
  readonly log: EngineLog;
  /** Reports whether the own worker would take an operation with that image at once. */
  readonly takes: (image: string | undefined) => boolean;
  /** Makes the worker look at the queue at once. */
  readonly wake: () => void;
}
