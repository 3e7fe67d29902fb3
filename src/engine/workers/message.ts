import type { AnswerJob, StreamJob } from './jobs.ts';

/** Message to a thread. */
export type Request =
  | { readonly kind: 'answer'; readonly job: AnswerJob }
  /** Starts a stream; pieces are sent as requested by `more`. */
  | { readonly kind: 'stream'; readonly job: StreamJob }
  | { readonly kind: 'more' }
  /** Cancels the job: its caller no longer waits. */
  | { readonly kind: 'stop' };

/** Message from a thread; each job ends with one of the last three. */
export type Response =
  | { readonly kind: 'piece'; readonly piece: Uint8Array }
  | { readonly kind: 'done'; readonly result?: unknown }
  /** Serialized fault. */
  | { readonly kind: 'fault'; readonly report: unknown }
  | { readonly kind: 'error'; readonly error: unknown };
