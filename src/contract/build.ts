import { z } from 'zod';
import { limits } from './limits.ts';
import { InstanceNetworking, InstanceResourcesLimits, SandboxName, StreamRepr } from './run.ts';

/** A secret of a build: held in memory while it runs, and stored nowhere. */
const BuildSecret = z.object({
  id: z.string().min(1).max(256),
  content: StreamRepr.pick({ value: true, encoding: true }).extend({
    value: z.string().max(Math.ceil((limits.buildSecretBytesMax * 4) / 3) + 4),
  }),
});

/** An SSH agent of the owner of the data directory, for RUN --mount=type=ssh. */
const BuildSshAgent = z.object({
  id: z.string().min(1).max(256),
  socket: z.string().min(1).max(limits.pathBytesMax).startsWith('/').describe('path on the machine of the engine'),
});

/** Build of an image from a Dockerfile (addition to the hosted contract). */
export const BuildRequest = z.object({
  /** Files that COPY and ADD read: a directory state, or an uploaded tar (plain, gzip or zstd); without it there are none. */
  context: z
    .object({
      directory_state: z
        .string()
        .optional()
        .describe('id of a synced directory state whose paths are those of the context'),
      file: z.string().optional().describe('uuid of an uploaded tar'),
    })
    .optional(),
  dockerfile: z
    .string()
    .min(1)
    .max(limits.pathBytesMax)
    .optional()
    .describe('path in the context; default: Dockerfile'),
  dockerfile_text: z.string().max(limits.dockerfileBytesMax).optional().describe('content, instead of a path'),
  ignore_text: z.string().max(limits.dockerfileBytesMax).optional().describe('rules, instead of .dockerignore'),
  target: z.string().max(256).optional().describe('stage to build; default: the last one'),
  build_args: z.record(z.string().min(1).max(4_096), z.string().max(limits.argumentBytesMax)).optional(),
  secrets: z.array(BuildSecret).max(100).optional(),
  ssh: z
    .array(BuildSshAgent)
    .max(100)
    .optional()
    .describe('SSH agents that a RUN may ask for signatures; only from the owner, over the socket of the engine'),
  tag: z.string().nullable().optional(),
  no_cache: z.boolean().optional(),
  platform: z.string().max(100).optional().describe('os/architecture; only that of the server'),
  networking: InstanceNetworking.optional(),
  resources_limits: InstanceResourcesLimits.optional(),
  timeout: z.int().min(1).max(limits.commandTimeoutSecondsMax).optional().describe('seconds of each RUN'),
  sandbox: SandboxName.optional(),
});
export type BuildRequest = z.infer<typeof BuildRequest>;
