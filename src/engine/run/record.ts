import { z } from 'zod';
import { limits } from '../../contract/limits.ts';
import { InstanceTerms, type InstanceOpenRequest } from '../../contract/instance.ts';
import { InstanceSpawnRequest } from '../../contract/run.ts';
import { HOSTNAME_DEFAULT } from './plan.ts';
import { maskEnv } from './secrets.ts';

/**
 * Request of a run as it is stored and shown: with all defaults, with secret-looking values masked, and without
 * standard input, through which people pass passwords.
 */
export const RunRecord = InstanceSpawnRequest.extend({
  env: z.record(z.string(), z.string().nullable()),
  stdin: z.object({ value: z.string(), encoding: z.enum(['ascii', 'base64']), close: z.boolean().optional() }),
  /** Present in the record of an instance that stays. */
  instance: InstanceTerms.optional(),
});
export type RunRecord = z.infer<typeof RunRecord>;

export function recordRun(request: InstanceSpawnRequest): RunRecord {
  const { stdin } = request;
  return {
    ...request,
    disposable: request.disposable ?? false,
    hostname: request.hostname ?? HOSTNAME_DEFAULT,
    args: request.args ?? [],
    shell: request.shell ?? false,
    env: maskEnv(request.env ?? {}),
    preserve_env: request.preserve_env ?? false,
    preserve_cwd: request.preserve_cwd ?? false,
    cwd: request.cwd ?? '',
    uid: request.uid ?? 0,
    gid: request.gid ?? 0,
    timeout: request.timeout ?? limits.commandTimeoutSecondsDefault,
    truncate_output_at: request.truncate_output_at ?? limits.outputBytesShownDefault,
    files: request.files ?? {},
    stdin: { value: '', encoding: 'ascii', ...(stdin?.close !== undefined && { close: stdin.close }) },
  };
}

/** Returns the record of an instance that stays: a run's without a command, so that every client can read it. */
export function recordOpen(request: InstanceOpenRequest, terms: InstanceTerms): RunRecord {
  const {
    idle_timeout: _idle,
    lifetime: _life,
    checkpoint: _checkpoint,
    tag: _tag,
    publish: _publish,
    ...sandbox
  } = request;
  return { ...recordRun({ ...sandbox, command: '' }), instance: terms };
}
