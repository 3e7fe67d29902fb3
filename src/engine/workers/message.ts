import type { AnswerJob, StreamJob } from './jobs.ts';

/** Message to a thread. */
export type Request =
  | { readonly kind: 'answer'; readonly job: AnswerJob }
  /** Pieces are sent as far as they are asked for with `more`. */
  | { readonly kind: 'stream'; readonly job: StreamJob }
  | { readonly kind: 'more' }
  /** Nobody waits for the job any more. */
  | { readonly kind: 'stop' };

/** Message of a thread; each job ends with one of the last three. */
export type Response =
  | { readonly kind: 'piece'; readonly piece: Uint8Array }
  | { readonly kind: 'done'; readonly result?: unknown }
  /** The report of a fault, as it leaves a process. */
  | { readonly kind: 'fault'; readonly report: unknown }
  | { readonly kind: 'error'; readonly error: unknown };
