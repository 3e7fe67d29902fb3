import { z } from 'zod';
import { flag } from './query.ts';

export const WhoAmIResponse = z.object({
  token_uuid: z.string(),
  token_expiration: z.int().nullable(),
  permissions: z.record(z.string(), z.boolean()),
  limits: z.record(z.string(), z.int()),
  operations_stat: z.record(z.string(), z.int()),
  /** Where the token works (addition to the hosted contract). */
  project: z.string().optional(),
});
export type WhoAmIResponse = z.infer<typeof WhoAmIResponse>;

export const GcReport = z.object({
  images: z.int(),
  layers: z.int(),
  files: z.int(),
  events: z.int(),
  freed_bytes: z.int(),
  /** What still uses space, largest first. */
  usage: z.array(z.object({ what: z.string(), bytes: z.int() })),
});
export type GcReport = z.infer<typeof GcReport>;

/** One thing that `doctor` looked at. */
export const DoctorCheck = z.object({
  name: z.string(),
  status: z.enum(['ok', 'warning', 'failed']),
  detail: z.string(),
  remedy: z.string().optional(),
});
export type DoctorCheck = z.infer<typeof DoctorCheck>;

export const DoctorReport = z.object({ version: z.string(), checks: z.array(DoctorCheck) });
export type DoctorReport = z.infer<typeof DoctorReport>;

export const GcRequest = z.object({
  /** Uploads and event logs unused for this many days are dropped. */
  older_than_days: z.number().min(0).optional(),
  /** Also drop ever younger uploads and logs, and untagged images that nothing depends on, until the store fits. */
  max_bytes: z.int().min(0).optional(),
  dry_run: z.boolean().optional(),
});
export type GcRequest = z.infer<typeof GcRequest>;

export const DoctorQuery = z.object({
  /** Also hashes every layer and upload. */
  verify: flag().optional(),
});
export type DoctorQuery = z.infer<typeof DoctorQuery>;

/** The engine process. */
export const EngineStatus = z.object({
  version: z.string(),
  pid: z.int(),
  started_at: z.string(),
  /** Whether an operation waits or runs. */
  busy: z.boolean(),
});
export type EngineStatus = z.infer<typeof EngineStatus>;

export const StopRequest = z.object({ only_idle: z.boolean().optional() });
export type StopRequest = z.infer<typeof StopRequest>;

/** The one shape of errors: what clients of the hosted service read (`error`, `status`) and our own report. */
export const ErrorBody = z.object({
  error: z.unknown(),
  status: z.int().optional(),
  traceback: z.array(z.string()).optional(),
  code: z.string().optional(),
  class: z.string().optional(),
  message: z.string().optional(),
  hint: z.string().optional(),
  detail: z.record(z.string(), z.unknown()).optional(),
});
