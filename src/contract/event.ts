import { z } from 'zod';
import { flag, integer } from './api/query.ts';
import { ImportProgress } from './image.ts';
import { StreamRepr } from './run.ts';

export const OPERATION_EVENT_TYPES = [
  'init',
  'spawn',
  'stdin',
  'stdout',
  'stderr',
  'exit',
  'truncated',
  'size_cap',
  'network',
  'snapshot',
  'ending',
  'shutdown',
  'completion',
] as const;
export const OperationEventType = z.enum(OPERATION_EVENT_TYPES);
export type OperationEventType = z.infer<typeof OperationEventType>;

export { SPID_INIT, SPID_MAIN } from './operation-state.ts';

export const EventDataInit = z.object({
  started_at: z.string(),
  runtime_path: z.string(),
  verbose: z.boolean(),
  init_pid: z.int(),
  hostname: z.string().optional(),
  kernel: z.string().optional(),
  machine: z.string().optional(),
  boot_id: z.string().optional(),
});

export const EventDataSpawn = z.object({
  pid: z.int(),
  command: z.string(),
  args: z.array(z.string()),
  shell: z.boolean(),
  cwd: z.string(),
  uid: z.int(),
  gid: z.int(),
  timeout: z.int(),
  truncate_at: z.int(),
  env: z.record(z.string(), z.string()).optional(),
});

/** Output of a process, or a progress line of an import with its figures. */
export const EventDataOutput = StreamRepr.extend({ progress: ImportProgress.optional() });

export const EventResources = z.object({
  user_time_us: z.int(),
  sys_time_us: z.int(),
  max_rss_kb: z.int(),
  shared_memory: z.int(),
  unshared_memory: z.int(),
  swaps: z.int(),
  minor_faults: z.int(),
  major_faults: z.int(),
  voluntary_ctx_switches: z.int(),
  involuntary_ctx_switches: z.int(),
  block_input_ops: z.int(),
  block_output_ops: z.int(),
  ipc_msgs_sent: z.int(),
  ipc_msgs_received: z.int(),
  signals_received: z.int(),
});
export type EventResources = z.infer<typeof EventResources>;

export const EventDataExit = z.object({
  pid: z.int(),
  /** −1 when the process was killed by a signal. */
  code: z.int(),
  /** −1 when the process exited by itself. */
  signal: z.int(),
  timed_out: z.boolean(),
  duration_ms: z.int(),
  resources: EventResources,
  core_dump: z.boolean().optional(),
  /** Addition: the kernel killed a process of this group for lack of memory. */
  out_of_memory: z.boolean().optional(),
});
export type EventDataExit = z.infer<typeof EventDataExit>;

export const EventDataTruncated = z.object({
  stream: z.enum(['stdout', 'stderr']),
  /** Bytes shown to readers of the log: at most `truncate_output_at`. */
  bytes_emitted: z.int(),
  bytes_dropped: z.int(),
  /**
   * Addition: bytes kept from the start. With `EventQuery.full` readers get all of them and, after this event, the last
   * ones.
   */
  bytes_kept: z.int().optional(),
  /**
   * Addition, in an instance that stays: position in the stream at which its output after this event goes on. A reader who is
   * there already has missed nothing: output is removed from such a log only after it was shown.
   */
  resumes_at: z.int().optional(),
});

export const EventDataSizeCap = z.object({ limit_bytes: z.int(), file_size: z.int() });

export const NetworkInterface = z.object({
  name: z.string(),
  rx_bytes: z.int(),
  rx_packets: z.int(),
  rx_errs: z.int(),
  rx_drop: z.int(),
  tx_bytes: z.int(),
  tx_packets: z.int(),
  tx_errs: z.int(),
  tx_drop: z.int(),
});

export const EventDataNetwork = z.object({
  interfaces: z.array(NetworkInterface),
  configured: z
    .object({
      ip4: z.string().optional(),
      ip4_gw: z.string().optional(),
      ip6: z.string().optional(),
      ip6_gw: z.string().optional(),
      gw_mac: z.string().optional(),
      nameserver: z.string().optional(),
    })
    .optional(),
  error: z.string().optional(),
});

/** Addition: an image was made of an instance that goes on; without an image, an automatic one failed with `error`. */
export const EventDataSnapshot = z.object({
  image: z.string().nullable(),
  /** True for a snapshot that was not asked for by itself. */
  automatic: z.boolean(),
  frozen_ms: z.number().optional(),
  error: z.string().optional(),
});

/** Addition: an instance that stays ends at that time, unless it is used (`idle`) or in any case (`lifetime`). */
export const EventDataEnding = z.object({ reason: z.enum(['idle', 'lifetime']), ends_at: z.string() });

export const EventDataShutdown = z.object({
  stopped_at: z.string(),
  reason: z.string(),
  /** Addition: why an instance that stayed has ended. */
  cause: z.enum(['closed', 'idle', 'lifetime', 'engine_stopped']).optional(),
});

export const EventDataCompletion = z.object({
  status: z.enum(['SUCCESS', 'FAILED', 'CANCELLED']),
  duration_ms: z.int(),
  result_image_uuid: z.string().nullable(),
  error: z.string().nullable(),
  /** 0 without a result image; null in logs of earlier versions. */
  image_size_bytes: z.int().nullable(),
});

/** Data of each event type: the shape of `OperationEvent.data`. */
export const EVENT_DATA = {
  init: EventDataInit,
  spawn: EventDataSpawn,
  stdin: StreamRepr,
  stdout: EventDataOutput,
  stderr: EventDataOutput,
  exit: EventDataExit,
  truncated: EventDataTruncated,
  size_cap: EventDataSizeCap,
  network: EventDataNetwork,
  snapshot: EventDataSnapshot,
  ending: EventDataEnding,
  shutdown: EventDataShutdown,
  completion: EventDataCompletion,
} as const satisfies Record<OperationEventType, z.ZodType>;

export type EventData<Type extends OperationEventType> = z.infer<(typeof EVENT_DATA)[Type]>;

export const OperationEvent = z.object({
  /** From 0, strictly increasing within the operation. */
  id: z.int(),
  ts: z.string(),
  spid: z.int().optional(),
  type: OperationEventType,
  data: z.record(z.string(), z.unknown()),
});

/** One entry of an operation's log, typed by `type`. `completion` is always the last one. */
export type OperationEvent = {
  [Type in OperationEventType]: {
    readonly id: number;
    readonly ts: string;
    readonly spid?: number;
    readonly type: Type;
    readonly data: EventData<Type>;
  };
}[OperationEventType];

/** Number of an event within its operation; -1 is before the first. */
export const EventId = integer(-1, Number.MAX_SAFE_INTEGER);

export const Spid = integer(0, 2 ** 31 - 1);
/** Number of a process that clients can address; 0 is the guest agent's. */
export const ProcessSpid = integer(1, 2 ** 31 - 1);

export const EventQuery = z.object({
  /** Stream until the operation ends; otherwise replay the existing events and stop. */
  follow: flag().optional(),
  /** Only this process. */
  spid: Spid.optional(),
  /** Only events with a larger id. */
  since: EventId.optional(),
  /** Addition: all output that was kept, including what exceeds the run's `truncate_output_at`. */
  full: flag().optional(),
});
export type EventQuery = z.infer<typeof EventQuery>;

/** Server-sent events, each with one `OperationEvent`. */
export const OperationEventStream = z.string();
export const OperationEventSSEFrame = z.object({ id: z.int(), event: OperationEventType, data: OperationEvent });
