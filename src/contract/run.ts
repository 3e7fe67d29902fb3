import { z } from 'zod';
import { ImageSource } from './image.ts';
import { limits } from './limits.ts';
import { anyText } from './api/query.ts';

/** Bytes as text: `ascii` when every byte is 32–126, tab, LF or CR; otherwise base64 (contract of the hosted service). */
export const StreamRepr = z.object({
  value: z.string(),
  encoding: z.enum(['ascii', 'base64']),
  truncated: z.boolean().optional(),
});
export type StreamRepr = z.infer<typeof StreamRepr>;

export const ClosableStreamRepr = z.object({
  value: z.string().max(Math.ceil((limits.stdinBytesMax * 4) / 3) + 4),
  encoding: z.enum(['ascii', 'base64']).optional(),
  /** Absent means true: end of input after the value. */
  close: z.boolean().optional(),
});
export type ClosableStreamRepr = z.infer<typeof ClosableStreamRepr>;

/** Octal mode as clients write it: `0644`, `644`, `0o644`, `0o100644`, or a number. */
export const FileMode = z.union([z.int().min(0).max(0o177777), z.string().regex(/^(?:0o)?[0-7]{1,7}$/u)]);

export const FileSpec = z.object({
  uuid: z.string(),
  uid: z.int().min(0).max(0xffff_ffff).optional(),
  gid: z.int().min(0).max(0xffff_ffff).optional(),
  mode: FileMode.optional(),
});
export type FileSpec = z.infer<typeof FileSpec>;

export const NetworkMode = z.enum(['none', 'public', 'allowlist']);
export type NetworkMode = z.infer<typeof NetworkMode>;

export const InstanceNetworking = z.object({
  enabled: z.boolean().optional(),
  /** Addition: `none`, `public` (default) or `allowlist`. */
  mode: NetworkMode.optional(),
  /** Addition: domains (`*.example.org`), addresses or CIDR blocks that mode `allowlist` may reach. */
  allow: z.array(z.string().max(253)).max(1_000).optional(),
});
export type InstanceNetworking = z.infer<typeof InstanceNetworking>;

export const InstanceResourcesLimits = z.object({
  max_layer_bytes: z.int().min(1).max(limits.layerBytesMax).optional(),
  /** Additions: virtual CPUs; memory in MiB, which is rounded up to one of the sizes in docs/microvm.md. */
  cpus: z.int().min(1).max(limits.guestCpusMax).optional(),
  memory_mib: z.int().min(limits.guestMemoryMibMin).max(limits.guestMemoryMibMax).optional(),
});
export type InstanceResourcesLimits = z.infer<typeof InstanceResourcesLimits>;

/** `auto` takes the best that works on the host. */
export const SandboxName = z.enum(['auto', 'microvm', 'gvisor']);

export const TerminalSize = z.object({ columns: z.int().min(1).max(10_000), rows: z.int().min(1).max(10_000) });
export type TerminalSize = z.infer<typeof TerminalSize>;

const env = z.record(z.string().min(1).max(4_096), z.string().nullable());
const id = z.int().min(0).max(0xffff_fffe);
/** Addition: `USER` or `USER:GROUP`, names or numbers, as the configuration of an image has it; instead of uid and gid. */
const user = z.string().regex(/^[^:\0]{1,256}(?::[^:\0]{1,256})?$/u, 'use USER or USER:GROUP');

export const ExecSpec = z.object({
  command: z.string().max(limits.commandBytesMax),
  args: z.array(z.string()).optional(),
  shell: z.boolean().optional(),
  env: z.record(z.string(), z.string()).nullable().optional(),
  cwd: z.string().max(limits.pathBytesMax).optional(),
  uid: id.optional(),
  gid: id.optional(),
  user: user.optional(),
  stdin: ClosableStreamRepr.optional(),
  truncate_output_at: z.int().min(0).optional(),
  /** Additions: seconds after which the process is killed, by default never; a pseudo-terminal of this size. */
  timeout: z.int().min(1).max(limits.instanceLifeSecondsMax).optional(),
  tty: TerminalSize.optional(),
});
export type ExecSpec = z.infer<typeof ExecSpec>;

export const InstanceSpawnRequest = z.object({
  command: z.string().max(limits.commandBytesMax),
  image: ImageSource,
  disposable: z.boolean().optional(),
  hostname: z
    .string()
    .regex(/^[A-Za-z0-9](?:[A-Za-z0-9.-]{0,62}[A-Za-z0-9])?$/u)
    .optional(),
  args: z.array(z.string()).optional(),
  shell: z.boolean().optional(),
  env: env.nullable().optional(),
  preserve_env: z.boolean().optional(),
  /** The working directory becomes the default of the result image. */
  preserve_cwd: z.boolean().optional(),
  cwd: z.string().max(limits.pathBytesMax).optional(),
  uid: id.optional(),
  gid: id.optional(),
  user: user.optional(),
  resources_limits: InstanceResourcesLimits.optional(),
  networking: InstanceNetworking.optional(),
  stdin: ClosableStreamRepr.optional(),
  timeout: z.int().min(1).max(limits.commandTimeoutSecondsMax).optional().describe('seconds'),
  truncate_output_at: z.int().min(0).optional().describe('bytes per stream'),
  files: z.record(z.string().max(limits.pathBytesMax), FileSpec).optional(),
  /** Addition: ids of synced directory states whose files are injected. */
  directory_states: z.array(z.string()).max(limits.directoryStatesPerRunMax).optional(),
  /** Addition: the sandbox that runs the command; default: that of the server. */
  sandbox: SandboxName.optional(),
  /** Addition: a pseudo-terminal of this size for the main process. */
  tty: TerminalSize.optional(),
  /**
   * Addition: answers with the recorded result of an equal run that ended with exit code 0, if there is one; see
   * docs/reuse.md. `network` accepts one that used its network.
   */
  reuse: z.union([z.boolean(), z.literal('network')]).optional(),
});
export type InstanceSpawnRequest = z.infer<typeof InstanceSpawnRequest>;

/**
 * `uuid` is the operation's, `image` the UUID of what the request named. With `reused` the operation has ended already, with
 * a recorded result.
 */
export const RunStarted = z.object({
  uuid: z.string(),
  image: z.string().optional(),
  reused: z.literal(true).optional(),
});

/** Repeats the request, as the hosted service does. */
export const InstanceSpawnResponse = InstanceSpawnRequest.extend({
  uuid: z.string(),
  reused: z.literal(true).optional(),
});

export const SubprocessStarted = z.object({ spid: z.int() });

/** `signal` is its name, for example TERM; SIGTERM and term are read as the same. */
export const KillQuery = z.object({
  signal: anyText(16)
    .transform((name) => name.toUpperCase().replace(/^SIG/u, '') || undefined)
    .optional(),
});

export const InstanceResultState = z.object({
  exit_code: z.int(),
  pid: z.int(),
  signal: z.int(),
  core_dump: z.boolean(),
  continued: z.boolean(),
  stopped: z.boolean(),
  timed_out: z.boolean(),
  /** Addition: the kernel killed a process of this run for lack of memory. */
  out_of_memory: z.boolean().optional(),
});

/** Times in seconds, `max_rss` in KiB, block counts in 512-byte units; −1 where unknown. */
export const InstanceResultResources = z.object({
  block_input: z.int(),
  block_output: z.int(),
  cost: z.number(),
  elapsed_time: z.number(),
  involuntary_switches: z.int(),
  max_rss: z.int(),
  monotonic_time: z.number(),
  page_faults: z.int(),
  page_faults_io: z.int(),
  shared_memory: z.int(),
  signals: z.int(),
  swaps: z.int(),
  system_cpu_time: z.number(),
  unshared_memory: z.int(),
  user_cpu_time: z.number(),
  voluntary_switches: z.int(),
});

/** One stream of a process, with the additions of an answer whose output was limited by `output_bytes`. */
export const InstanceResultStream = StreamRepr.extend({
  /** Addition: bytes that the process has written to this stream so far. */
  size: z.int().min(0).optional(),
  /** Addition: the last bytes of the stream that were kept, where `value` does not hold all of it. */
  tail: z.object({ value: z.string(), encoding: z.enum(['ascii', 'base64']) }).optional(),
});
export type InstanceResultStream = z.infer<typeof InstanceResultStream>;

export const InstanceResult = z.object({
  resources: InstanceResultResources.optional(),
  state: InstanceResultState.optional(),
  stdout: InstanceResultStream.optional(),
  stderr: InstanceResultStream.optional(),
});
export type InstanceResult = z.infer<typeof InstanceResult>;
