import { z } from 'zod';
import { fault, isFault } from '../../contract/errors.ts';
import type { OperationResponse } from '../../contract/operation.ts';
import { limits } from '../../contract/limits.ts';
import { FileSpec, NetworkMode, type InstanceSpawnRequest, SandboxName } from '../../contract/run.ts';
import { instance } from '../instances/instance.ts';
import { runInInstance } from '../instances/run-in-instance.ts';
import { image } from '../support/fields.ts';
import { followOwn } from '../support/follow.ts';
import { operationText, resultFields, summarize, type OperationFields } from '../support/operation.ts';
import { outcomeOf } from '../support/outcome.ts';
import { hiddenFromClients } from '../support/schema.ts';
import { defineTool, type HostEnv, type ToolCall } from '../support/tool.ts';
import { present } from '../../std/present.ts';

/** Largest size of each of the two streams for which both fit into one result. */
export const streamBytesMax = Math.floor((limits.toolResultBytesMax * 0.8) / 2);

const id = hiddenFromClients(z.int().min(0).max(0xffff_fffe).optional());

const Input = z.object({
  command: z.string().min(1).max(limits.commandBytesMax),
  image: image.optional(),
  instance: instance.optional().describe('open one, instead of image'),
  shell: z.boolean().default(true).describe('false: program with args'),
  args: z.array(z.string()).optional(),
  env: z.record(z.string(), z.string().nullable()).optional().describe('instead of export'),
  /** Documented in the instructions and whoami of servers that offer variables. */
  env_from: hiddenFromClients(z.array(z.string().max(256)).max(64).optional()),
  preserve_env: hiddenFromClients(z.boolean().optional()),
  cwd: z.string().max(limits.pathBytesMax).optional(),
  timeout: z
    .int()
    .min(1)
    .max(limits.commandTimeoutSecondsMax)
    .default(limits.toolTimeoutSecondsDefault)
    .describe('seconds'),
  disposable: z.boolean().default(true),
  stdin: z.string().max(limits.stdinBytesMax).optional(),
  directory_state_id: z.string().optional(),
  files: z.record(z.string(), z.union([z.string(), hiddenFromClients(FileSpec)])).optional(),
  wait: z.boolean().default(true),
  truncate_output_at: hiddenFromClients(z.int().min(0).default(limits.toolOutputBytesDefault)),
  uid: id,
  gid: id,
  network: NetworkMode.optional(),
  allow: z.array(z.string()).optional().describe('hosts'),
  cpus: z.int().min(1).max(limits.guestCpusMax).optional(),
  memory_mib: z.int().min(limits.guestMemoryMibMin).max(limits.guestMemoryMibMax).optional(),
  reuse: z
    .union([z.boolean(), hiddenFromClients(z.literal('network'))])
    .optional()
    .describe('result of an equal run, if known'),
  sandbox: hiddenFromClients(SandboxName.optional()),
  max_layer_bytes: hiddenFromClients(z.int().min(1).max(limits.layerBytesMax).optional()),
});

export const run = defineTool({
  name: 'run',
  title: 'Run a command',
  description:
    'Costs a VM (0.5-5 s plus the command). Runs a line of /bin/sh as root in a fresh sandbox of an image (UUID or ' +
    'tag:NAME), which never changes, or in an open instance. disposable=false saves the result as image_uuid, to chain or ' +
    'branch from. In parallel: wait=false, then wait_operations. A non-zero exit_code is a result. Long output shows head ' +
    'and tail; get_operation pages it. To look at files use list_files, read_file, grep, diff. More: ' +
    'get_guide(section="reference").',
  cost: 'vm',
  effect: 'creates',
  openWorld: true,
  rewrite: commandLine,
  input: Input,
  output: z.object(resultFields),
  handle: async (call, input) => {
    const { contree, signal } = call;
    if (input.instance !== undefined) return await inInstance(call, input, input.instance);
    // Not aborted with the call: the id of the started run must be known.
    const { uuid } = await contree.runs.start(requestOf(input, call.hostEnv));
    const outputBytes = Math.min(input.truncate_output_at, streamBytesMax);
    const options = { contree, outputBytesMax: outputBytes, signal };
    if (!input.wait) {
      const state = await contree.operations.get(uuid, { output_bytes: outputBytes }, signal);
      // Without a hint to wait: the caller has asked not to.
      const { hint: _, ...started } = await summarize(state, options);
      return started;
    }
    const operation = await followOwn(call, uuid, { timeoutSeconds: input.timeout, outputBytes });
    const outcome = await outcomeOf(operation, options);
    return { ...outcome, ...(outcome.hint === undefined && (await madeHint(call, input, operation))) };
  },
  text: operationText,
});

/** Arguments of a run that an instance has had since it was opened. */
const OF_THE_START = [
  'image',
  'files',
  'directory_state_id',
  'network',
  'allow',
  'cpus',
  'memory_mib',
  'sandbox',
  'reuse',
] as const;

async function inInstance(call: ToolCall, input: z.output<typeof Input>, name: string): Promise<OperationFields> {
  const given = OF_THE_START.filter((argument) => input[argument] !== undefined);
  if (given.length > 0) {
    const reason = `${given.map((argument) => `argument "${argument}"`).join(', ')}: not with instance, only open_instance takes it`;
    throw fault('ARGUMENT_INVALID', { reason });
  }
  const { command, args, shell, env, stdin, cwd, timeout, uid, gid } = processOf(input, call.hostEnv);
  const variables = Object.entries(env ?? {}).filter((entry): entry is [string, string] => entry[1] !== null);
  const spec = {
    command,
    timeout,
    ...present({ args, shell, stdin, cwd, uid, gid, env: env && Object.fromEntries(variables) }),
  };
  const outputBytesMax = Math.min(input.truncate_output_at, streamBytesMax);
  return await runInInstance(call, {
    instance: name,
    spec,
    wait: input.wait,
    saves: !input.disposable,
    outputBytesMax,
  });
}

/** Returns the arguments with a command that was given as a list, as `exec` takes it, split into program and args. */
function commandLine(given: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const { command, args = [] } = given;
  if (!Array.isArray(command) || !Array.isArray(args)) return { ...given };
  const [program, ...words] = command as unknown[];
  if (command.length === 1 && args.length === 0) return { ...given, command: program };
  return { ...given, command: program, args: [...words, ...args], shell: false };
}

/** Returns the process that the arguments describe. Faults: ARGUMENT_INVALID. */
function processOf(input: z.output<typeof Input>, hostEnv: HostEnv = {}) {
  const { stdin, command, shell, timeout, args, cwd, uid, gid } = input;
  if (!shell && args === undefined && /\s/u.test(command.trim())) {
    const reason = `argument "command": ${JSON.stringify(command)} has spaces; with shell=false give args=[…]`;
    throw fault('ARGUMENT_INVALID', { reason });
  }
  return {
    command,
    shell,
    timeout,
    // More than is shown, so that the rest can be paged without another run.
    truncate_output_at: Math.max(input.truncate_output_at, limits.outputBytesShownDefault),
    ...present({
      args,
      cwd,
      uid,
      gid,
      env: nonEmpty({ ...passedOn(input, hostEnv), ...input.env }),
      stdin:
        stdin === undefined ? undefined : { value: Buffer.from(stdin).toString('base64'), encoding: 'base64' as const },
    }),
  };
}

function requestOf(input: z.output<typeof Input>, hostEnv: HostEnv = {}): InstanceSpawnRequest {
  const { image: from, directory_state_id: state, files, network, allow, cpus, memory_mib, max_layer_bytes } = input;
  if (from === undefined) throw fault('ARGUMENT_INVALID', { reason: 'run: argument "image" is required' });
  if (network === 'allowlist' && allow === undefined) {
    throw fault('ARGUMENT_INVALID', { reason: 'argument "allow" is required with network="allowlist"' });
  }
  if (allow !== undefined && network !== undefined && network !== 'allowlist') {
    throw fault('ARGUMENT_INVALID', { reason: 'argument "allow" needs network="allowlist"' });
  }
  return {
    ...processOf(input, hostEnv),
    image: from,
    disposable: input.disposable,
    ...present({ preserve_env: input.preserve_env, sandbox: input.sandbox, reuse: input.reuse }),
    ...present({
      directory_states: state === undefined ? undefined : [state],
      files:
        files &&
        Object.fromEntries(
          Object.entries(files).map(([path, file]) => [path, typeof file === 'string' ? { uuid: file } : file]),
        ),
      networking: network || allow ? present({ mode: network ?? 'allowlist', allow }) : undefined,
      resources_limits: nonEmpty(present({ cpus, memory_mib, max_layer_bytes })),
    }),
  };
}

/** Folders of the sandbox itself, which no image has. */
const OF_THE_SANDBOX = /^\/(?:dev|proc|run|sys|tmp)(?:\/|$)/u;

/** Returns a hint where the working directory is not in the image, and so was made: a typo runs in an empty folder. */
async function madeHint(
  { contree, signal }: ToolCall,
  { cwd, files, directory_state_id: state }: z.output<typeof Input>,
  { image_uuid: image }: OperationResponse,
): Promise<{ hint?: string }> {
  // What is put into the image may bring the folder.
  if (cwd === undefined || image === null || files || state !== undefined || OF_THE_SANDBOX.test(cwd)) return {};
  try {
    await contree.files.list(image, { path: cwd, limit: 1 }, signal);
    return {};
  } catch (error) {
    if (!isFault(error)) throw error;
    return isFault(error, 'FILE_NOT_FOUND')
      ? { hint: `cwd ${JSON.stringify(cwd)} is not in the image: it was made, empty.` }
      : {};
  }
}

function nonEmpty<Fields extends object>(fields: Fields): Fields | undefined {
  return Object.keys(fields).length > 0 ? fields : undefined;
}

/** Returns the variables that the call names. Their values reach only the guest. */
function passedOn({ env_from: names = [], preserve_env }: z.output<typeof Input>, hostEnv: HostEnv): HostEnv {
  const unknown = names.filter((name) => !Object.hasOwn(hostEnv, name));
  if (unknown.length > 0) {
    const offered = Object.keys(hostEnv).join(', ') || 'none; the user can start it with --env-from NAME';
    const reason = `argument "env_from": this server does not pass on ${unknown.join(', ')} (offered: ${offered})`;
    throw fault('ARGUMENT_INVALID', { reason });
  }
  if (names.length > 0 && preserve_env) {
    throw fault('ARGUMENT_INVALID', { reason: 'preserve_env would keep the values of env_from in the image' });
  }
  return Object.fromEntries(names.map((name) => [name, hostEnv[name] ?? '']));
}
