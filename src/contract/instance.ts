import { z } from 'zod';
import { flag, integer, PAGE } from './api/query.ts';
import { limits } from './limits.ts';
import { OPERATION_STATUSES } from './operation-state.ts';
import { InstanceSpawnRequest } from './run.ts';

/*
 * Instances that stay: a sandbox over an image that is opened once, in which commands are executed again and again. An
 * addition to the hosted contract: to its clients such an instance is an operation of kind `instance` that is EXECUTING.
 */

const seconds = (most: number): z.ZodOptional<z.ZodInt> => z.int().min(1).max(most).optional();

/** Snapshots that are made without being asked for: after so many commands, or so many seconds in which it was used. */
export const Checkpoint = z.object({
  commands: z.int().min(1).max(1_000).optional(),
  seconds: seconds(limits.instanceLifeSecondsMax),
});
export type Checkpoint = z.infer<typeof Checkpoint>;

/** Time that an instance stays, and the snapshots that are made of it without being asked for. */
const TERMS = {
  idle_timeout: seconds(limits.instanceIdleSecondsMax).describe('seconds without use after which it ends'),
  lifetime: seconds(limits.instanceLifeSecondsMax).describe('seconds after which it ends'),
  checkpoint: Checkpoint.optional(),
  /** Tag of the image that is kept at the end. */
  tag: z.string().optional(),
} as const;

export const InstanceTerms = z.object({ ...TERMS, idle_timeout: z.int(), lifetime: z.int() });
export type InstanceTerms = z.infer<typeof InstanceTerms>;

const Port = z.int().min(1).max(65_535);

/** Port in the path of a request. */
export const PortNumber = integer(1, 65_535);

export const PortPublishRequest = z.object({
  /** TCP port at which a program of the instance listens, or will. */
  port: Port,
  host_port: z
    .int()
    .min(0)
    .max(65_535)
    .optional()
    .describe("port of the engine's machine; 0, the default, is any free one"),
});
export type PortPublishRequest = z.infer<typeof PortPublishRequest>;

export const InstanceOpenRequest = InstanceSpawnRequest.pick({
  image: true,
  hostname: true,
  env: true,
  cwd: true,
  uid: true,
  gid: true,
  user: true,
  resources_limits: true,
  networking: true,
  files: true,
  directory_states: true,
  sandbox: true,
  disposable: true,
}).extend({ ...TERMS, publish: z.array(PortPublishRequest).max(limits.portsPublishedMax).optional() });
export type InstanceOpenRequest = z.infer<typeof InstanceOpenRequest>;

/** A port of the guest that is reachable from outside. */
export const PortInfo = z.object({
  port: Port,
  /** Port of the engine's machine, on loopback unless the engine was told otherwise. */
  host_port: Port,
  /** Address of its pages, when the engine has an HTTP server. */
  url: z.string().nullable(),
});
export type PortInfo = z.infer<typeof PortInfo>;

export const InstanceSummary = z.object({
  /** UUID of its operation. */
  uuid: z.string(),
  /** UUID of the image it was opened from. */
  image: z.string(),
  status: z.enum(OPERATION_STATUSES),
  disposable: z.boolean(),
  created_at: z.string(),
  last_used_at: z.string(),
  /** Time at which it ends unless it is used; null while it is in use, and when it is not open. */
  idle_at: z.string().nullable(),
  /** Time at which it ends in any case; null when it is not open. */
  ends_at: z.string().nullable(),
  /** `microvm` or `gvisor`; null until it has started. */
  sandbox: z.string().nullable(),
  /** Number of processes that run in it now. */
  processes: z.int(),
  /** Number of images made of it so far. */
  snapshots: z.int(),
  last_snapshot: z.string().nullable(),
  ports: z.array(PortInfo),
});
export type InstanceSummary = z.infer<typeof InstanceSummary>;

/** Address that signs a browser in to the pages of one port. */
export const PortLink = z.object({
  /** Works once, and only for a short time. */
  url: z.string(),
});
export type PortLink = z.infer<typeof PortLink>;

/** A command that was started in an instance; `exit_code` once it has ended, -1 when a signal ended it. */
export const InstanceProcess = z.object({
  spid: z.int(),
  pid: z.int(),
  command: z.string(),
  started_at: z.string(),
  exit_code: z.int().optional(),
});
export type InstanceProcess = z.infer<typeof InstanceProcess>;

/** An instance with its processes: all that run, and the last ones that have ended. */
export const InstanceDetails = InstanceSummary.extend({
  processes: z.array(InstanceProcess),
  /** Number of ended processes whose events are not kept any more, if there are any, while it is open. */
  processes_forgotten: z.int().optional(),
});
export type InstanceDetails = z.infer<typeof InstanceDetails>;

/** Request on the owner's socket that becomes a connection to a port of an instance. */
export const PORT_TUNNEL = {
  protocol: 'contree-port',
  path: /^\/v1\/instances\/(?<instance>[\w-]{1,64})\/ports\/(?<port>\d{1,5})\/tunnel$/u,
  pathOf: (instance: string, port: number): string => `/v1/instances/${instance}/ports/${port}/tunnel`,
} as const;

export const InstanceList = z.array(InstanceSummary);

export const InstanceQuery = z.object({
  limit: PAGE.limit,
  offset: PAGE.offset,
  /** Also instances that are not open any more. */
  all: flag().optional(),
});
export type InstanceQuery = z.infer<typeof InstanceQuery>;

export const InstanceSnapshotRequest = z.object({
  /** Tag of the image. */
  tag: z.string().optional(),
});
export type InstanceSnapshotRequest = z.infer<typeof InstanceSnapshotRequest>;

/** A snapshot of an instance that goes on. */
export const InstanceSnapshot = z.object({
  /** UUID of the image: a new one, or the last one when nothing has changed since. */
  image: z.string(),
  changed: z.boolean(),
  /** Milliseconds for which the programs in the instance waited for it. */
  frozen_ms: z.number(),
});
export type InstanceSnapshot = z.infer<typeof InstanceSnapshot>;

export const InstanceCloseRequest = z.object({
  /** True to make an image of its changes; by default unless it is disposable. */
  keep: z.boolean().optional(),
  /** Tag of that image. */
  tag: z.string().optional(),
});
export type InstanceCloseRequest = z.infer<typeof InstanceCloseRequest>;
