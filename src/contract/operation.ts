import { z } from 'zod';
import { choice, flag, integer, PAGE } from './api/query.ts';
import { limits } from './limits.ts';
import { InstanceTerms } from './instance.ts';
import { InstanceResult, InstanceSpawnRequest } from './run.ts';
import { OPERATION_STATUSES } from './operation-state.ts';

export { isFinished, OPERATION_STATUSES } from './operation-state.ts';
export const OperationStatus = z.enum(OPERATION_STATUSES);
export type OperationStatus = z.infer<typeof OperationStatus>;

export const OperationKind = z.enum(['image_import', 'instance']);
export type OperationKind = z.infer<typeof OperationKind>;

export const ImageImportMetadata = z.object({
  registry: z.object({
    url: z.string(),
    credentials: z.object({ username: z.string(), password: z.string() }).optional(),
  }),
  tag: z.string().nullable(),
  timeout: z.int(),
  /** Present for a build, whose `registry.url` is `dockerfile:` and its path (addition). */
  build: z
    .object({
      dockerfile: z.string(),
      target: z.string().nullable(),
      /** Names of the build arguments that were given. */
      build_args: z.array(z.string()),
    })
    .optional(),
});
export type ImageImportMetadata = z.infer<typeof ImageImportMetadata>;

export const OperationInstanceMetadata = InstanceSpawnRequest.extend({
  result: InstanceResult,
  /** Addition: of an instance that stays. */
  instance: InstanceTerms.optional(),
});
export type OperationInstanceMetadata = z.infer<typeof OperationInstanceMetadata>;

export const OperationSummary = z.object({
  uuid: z.string(),
  kind: OperationKind,
  status: OperationStatus,
  error: z.string().nullable(),
  created_at: z.string(),
  /** Seconds. */
  duration: z.number(),
  image_size: z.int().nullable(),
  consumed_cpu: z.number().nullable(),
  consumed_memory: z.int().nullable(),
  image_uuid: z.string().nullable(),
  result_image_uuid: z.string().nullable(),
  /** The command line, or the imported reference, cut at `limits.commandCharactersListed` (addition). */
  subject: z.string().optional(),
  /** Exit code of the command once it has ended; -1 when a signal ended it (addition). */
  exit_code: z.int().optional(),
});
export type OperationSummary = z.infer<typeof OperationSummary>;

/** Environment of a run, and its duration by phase (addition to the hosted contract). */
export const ExecutionReport = z.object({
  /** `microvm` or `gvisor`. Engines of earlier versions, which had only microVMs, send none. */
  sandbox: z.string().optional(),
  /** `kvm` or `emulated` of a microVM; `none` of gVisor. */
  accelerator: z.string(),
  /** Parts of the microVM's jail; those that this host could not provide are in `missing`. */
  jail: z.object({ parts: z.array(z.string()), missing: z.array(z.string()) }),
  /** Milliseconds per step: queue, restore, mount, exec, commit, teardown. */
  steps_ms: z.record(z.string(), z.number()),
  network: z.object({ rx_bytes: z.int(), tx_bytes: z.int(), dropped: z.int() }).optional(),
});
export type ExecutionReport = z.infer<typeof ExecutionReport>;

export const OperationResponse = OperationSummary.extend({
  metadata: z.union([OperationInstanceMetadata, ImageImportMetadata]),
  result: z.object({ image: z.string().nullable(), tag: z.string().nullable() }).nullable(),
  execution: ExecutionReport.optional(),
  /** Fault code of a FAILED operation (addition). */
  error_code: z.string().optional(),
  /** True where nothing was run, because the result is that of an equal earlier run (addition). */
  reused: z.literal(true).optional(),
  /** That run, and the seconds from its end until its result was reused (addition). */
  reused_operation: z.string().optional(),
  reused_age: z.number().optional(),
});
export type OperationResponse = z.infer<typeof OperationResponse>;

export const OperationQuery = z.object({
  ...PAGE,
  status: choice(...OPERATION_STATUSES).optional(),
  kind: choice(...OperationKind.options).optional(),
});
export type OperationQuery = z.infer<typeof OperationQuery>;

export const OperationGetQuery = z.object({
  /** Addition: at most this many bytes from the start of each stream and as many from its end; all of it by default. */
  output_bytes: integer(0, limits.outputBytesKept).optional(),
});
export type OperationGetQuery = z.infer<typeof OperationGetQuery>;

/** Query with which the hosted service shows the output of an operation that has not ended; ours always does. */
export const InflightQuery = z.object({ inflight: flag().optional() });

export const OperationSummaryList = z.array(OperationSummary);
export const OperationStarted = z.object({ uuid: z.string() });
