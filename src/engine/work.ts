import type { OperationKind } from '../contract/operation.ts';
import type { NewImage } from '../store/images.ts';
import type { OperationEnd, OperationOutcome } from '../store/operations.ts';
import type { ProjectStore } from '../store/project-store.ts';
import type { Admission, Resources } from './admission.ts';
import type { Planned } from './node/announce.ts';
import type { SharedIdentity } from './node/catalogue.ts';
import type { LiveInstance } from './run/live-instance.ts';

/** Result of an operation that is visible already. */
export type KeptResult = Pick<OperationEnd, 'resultImage' | 'resultTag' | 'imageBytes'>;

/** Image and tag that a publication has made visible. */
export interface MadeVisible {
  readonly image?: string;
  readonly tag?: string;
  readonly imageBytes?: number;
}

/** Context in which the work of an operation runs. */
export interface OperationContext {
  readonly uuid: string;
  /** Aborts when the operation is cancelled or the engine stops. */
  readonly signal: AbortSignal;
  /** Milliseconds that the operation was queued. */
  readonly queuedMs: number;
  /** Records facts that must be kept however the operation ends. */
  note(outcome: OperationOutcome): void;
  /** Changes ASSIGNED to EXECUTING; from now on clients can reach `instance`. */
  execute(instance?: LiveInstance): void;
  /**
   * Publishes a result now, durably, with what is to be noted of it. It stays the operation's result however the
   * operation ends, unless a later one replaces it. Rejects with the reason of the signal and faults of the catalogue.
   */
  keep(result: WorkResult, outcome: OperationOutcome): Promise<KeptResult>;
  /**
   * Publishes an image in the cluster's catalogue, which is to be made here then with the name that it has there. Undefined
   * where there is no catalogue. Rejects with its faults.
   */
  share(image: () => NewImage): Promise<SharedIdentity | undefined>;
}

/** Result of successful work, published in the transaction that ends the operation. */
export interface WorkResult {
  /** Returns what `publish` is going to make visible, for a catalogue. */
  readonly planned: () => Planned;
  /** Called within that transaction; makes the image and its tag visible, under the name that a catalogue has given it. */
  readonly publish: (shared?: SharedIdentity) => MadeVisible;
  /** True if the publication must survive a power failure. */
  readonly durable: boolean;
  /** Told the image once it is visible. */
  readonly published?: (image: string) => void;
}

export interface WorkOrder {
  /** UUID that the operation was given elsewhere. */
  readonly uuid?: string;
  /** Store of the operation's project. */
  readonly store: ProjectStore;
  /** UUID of the token that requested it, if any. */
  readonly token: string | undefined;
  readonly kind: OperationKind;
  /** Stored request: JSON without secrets. */
  readonly request: string;
  /** Input image, which cannot be deleted while the operation runs. */
  readonly image?: string;
  /** True for an instance that stays until it is closed. */
  readonly stays?: boolean;
  readonly admission: Admission;
  readonly cost: Resources;
  /** Resources that count against the quota of its project. */
  readonly claim?: Resources;
  readonly work: (context: OperationContext) => Promise<WorkResult>;
  /** Disposed when the work of the operation has ended completely. */
  readonly release: Disposable;
}

/** Unfinished operation. */
export interface ActiveOperation {
  readonly uuid: string;
  readonly kind: OperationKind;
  readonly token: string | undefined;
  readonly image: string | undefined;
  readonly stays: boolean;
  readonly store: ProjectStore;
  readonly controller: AbortController;
  /** Time at which it left the queue; before that, at which it was accepted. */
  startedAtMs: number;
  ended: boolean;
  outcome: OperationOutcome;
  /** Results that were published so far. */
  kept: KeptResult;
  readonly cost: Resources;
  instance: LiveInstance | undefined;
  /** Settles when no publication in the catalogue is in progress: until then nothing else ends the operation. */
  publishing: Promise<unknown>;
  /** Settles once the instance is up, or will never be. */
  readonly up: PromiseWithResolvers<void>;
  /** Settles when the work of the operation has ended completely. */
  done: Promise<void>;
}
