import { z } from 'zod';
import { flag } from './api/query.ts';
import { DEFAULT_PROJECT } from './names.ts';
import { PERMISSIONS } from './permissions.ts';

export const WhoAmIResponse = z.object({
  token_uuid: z.string(),
  token_expiration: z.int().nullable(),
  permissions: z.record(z.string(), z.boolean()),
  limits: z.record(z.string(), z.int()),
  operations_stat: z.record(z.string(), z.int()),
  /** Project of the token (addition to the hosted contract). */
  project: z.string().optional(),
});
export type WhoAmIResponse = z.infer<typeof WhoAmIResponse>;

export const GcReport = z.object({
  images: z.int(),
  layers: z.int(),
  files: z.int(),
  events: z.int(),
  freed_bytes: z.int(),
  /** Templates that were released, from memory or from disk. Engines of earlier versions send none of these three. */
  templates: z.int().default(0),
  /** Memory of templates that was given back; `freed_bytes` counts space on disk only. */
  freed_memory_bytes: z.int().default(0),
  /** Memory that templates still take. */
  used_memory_bytes: z.int().default(0),
  /** Space that is still in use, largest first. */
  usage: z.array(z.object({ what: z.string(), bytes: z.int() })),
});
export type GcReport = z.infer<typeof GcReport>;

/** One check of `doctor`. */
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
  /**
   * Until the store fits, also drop younger and younger uploads and logs, and untagged images that nothing depends on.
   */
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
  /** True while an operation is queued or running. */
  busy: z.boolean(),
});
export type EngineStatus = z.infer<typeof EngineStatus>;

export const StopRequest = z.object({ only_idle: z.boolean().optional() });
export type StopRequest = z.infer<typeof StopRequest>;

/**
 * JSON body of every error: the fields that clients of the hosted service read (`error`, `status`) and our own report.
 */
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

/** Limits of one token, under the names used by `whoami`; a missing one is the server's own. */
export const TokenLimits = z.object({
  instance_max_timeout: z.int().min(1).optional().describe('seconds a run may take'),
  instance_max_concurrency: z.int().min(1).optional().describe('runs waiting or running at the same time'),
  instances_max_open: z.int().min(1).optional().describe('instances open at the same time'),
  instance_max_lifetime: z.int().min(1).optional().describe('seconds an instance may stay'),
  images_import_max_timeout: z.int().min(1).optional().describe('seconds an import may take'),
});
export type TokenLimits = z.infer<typeof TokenLimits>;

export const TokenRequest = z.object({
  name: z.string().max(256).optional(),
  expires_in: z.int().min(1).max(315_360_000).nullable().optional().describe('seconds; null for never'),
  permissions: z.array(z.enum(PERMISSIONS)).min(1).optional().describe('default: everything but admin and metrics'),
  project: z
    .string()
    .max(256)
    .optional()
    .describe('namespace of all that the token sees and makes; default: where its maker works'),
  limits: TokenLimits.optional(),
});
export type TokenRequest = z.infer<typeof TokenRequest>;

/** A token in a list, without its secret. */
export const Token = z.object({
  uuid: z.string(),
  name: z.string(),
  created_at: z.string(),
  /** Unix seconds. */
  expires_at: z.int().nullable(),
  permissions: z.array(z.enum(PERMISSIONS)),
  /** Absent for tokens from before projects existed. */
  project: z.string().default(DEFAULT_PROJECT),
  limits: TokenLimits.default({}),
});
export type Token = z.infer<typeof Token>;

export const CreatedToken = Token.extend({ token: z.string().describe('shown once') });
export type CreatedToken = z.infer<typeof CreatedToken>;

export const TokenListResponse = z.object({ tokens: z.array(Token) });

const amount = z.int().min(1);

/** Quota of a project; what is absent has no bound. */
export const Quota = z.object({
  runs: amount.optional().describe('runs, and RUN steps of builds, at the same time; further ones wait'),
  cpus: amount.optional().describe('cores of all runs at the same time'),
  memory_mib: amount.optional().describe('memory of all runs and open instances, MiB'),
  instances: amount.optional().describe('instances open at the same time'),
  storage_bytes: amount.optional().describe('bytes of all layers of images, each once, and of all uploads'),
});
export type Quota = z.infer<typeof Quota>;

/** Change of a project's quota: absent fields stay, null is the default of the server again. */
export const QuotaChange = z.object({
  runs: amount.nullable().optional(),
  cpus: amount.nullable().optional(),
  memory_mib: amount.nullable().optional(),
  instances: amount.nullable().optional(),
  storage_bytes: amount.nullable().optional(),
});
export type QuotaChange = z.infer<typeof QuotaChange>;

/** Resources that a project uses, and its quota. */
export const ProjectUsage = z.object({
  project: z.string(),
  used: z.object({
    runs: z.int(),
    cpus: z.int(),
    memory_mib: z.int(),
    instances: z.int(),
    storage_bytes: z.int(),
  }),
  /** Operations that wait for their turn. */
  queued: z.int(),
  /** Quota in effect. */
  quota: Quota,
  /** Part of it that was set for this project. */
  own_quota: Quota,
});
export type ProjectUsage = z.infer<typeof ProjectUsage>;

export const ProjectListResponse = z.object({ projects: z.array(ProjectUsage) });
