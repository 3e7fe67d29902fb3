import type { ConTree } from '../../contract/contree.ts';
import { fault } from '../../contract/errors.ts';
import type { EventData } from '../../contract/event.ts';
import type { ExecSpec } from '../../contract/run.ts';
import { present } from '../../std/present.ts';
import { adviceFor } from '../support/advice.ts';
import { operationFault } from '../support/failure.ts';
import { portsOf, rounded, signalName, type OperationFields } from '../support/operation.ts';
import { showOutput, StreamCollector, type StreamName } from '../support/output.ts';
import type { ToolCall } from '../support/tool.ts';
import { openInstanceNamed } from './instance.ts';

const KILL_MS_MAX = 5_000;
/** Time beyond the timeout of a command in which its end is told. */
const END_MS_EXTRA = 10_000;

export interface InstanceRun {
  /** UUID of the instance, or its beginning. */
  readonly instance: string;
  readonly spec: ExecSpec & { readonly timeout: number };
  /** False to return as soon as the command runs. */
  readonly wait: boolean;
  /** True to make an image afterwards. */
  readonly saves: boolean;
  /** Bytes per stream to show. */
  readonly outputBytesMax: number;
}

/** Executes a command in an open instance and returns its result, or its number where it goes on longer than the call. */
export async function runInInstance(call: ToolCall, wanted: InstanceRun): Promise<OperationFields> {
  const { contree, signal } = call;
  const instance = await openInstanceNamed(contree, wanted.instance, signal);
  // Not aborted with the call: the number of the process must be known.
  const { spid } = await contree.processes.start(instance, wanted.spec);
  const started = { status: 'EXECUTING' as const, operation_id: instance, process: spid };
  if (!wanted.wait)
    return { ...started, ...(await publishedPorts(contree, instance, signal)), hint: lookHint(instance, spid) };
  const followed = await follow(call, { instance, spid, seconds: wanted.spec.timeout });
  const shown = shownStreams(followed, { instance, spid, bytesMax: wanted.outputBytesMax });
  const { exit } = followed;
  if (exit === undefined) return { ...started, ...shown, hint: lookHint(instance, spid) };
  const saved = wanted.saves ? await contree.instances.snapshot(instance, {}, signal) : undefined;
  const hint = adviceOf(wanted.spec, exit, shown.stderr ?? '');
  return {
    ...endFields(exit),
    ...shown,
    ...(saved && { image_uuid: saved.image, ...(!saved.changed && { filesystem_changed: false }) }),
    ...(await publishedPorts(contree, instance, signal)),
    status: 'SUCCESS',
    operation_id: instance,
    ...present({ hint }),
  };
}

function lookHint(instance: string, spid: number): string {
  return `get_operation(operation_id="${instance}", process=${spid}, stream="stdout") shows what it writes`;
}

async function publishedPorts(
  contree: ConTree,
  instance: string,
  signal: AbortSignal,
): Promise<Pick<OperationFields, 'ports'>> {
  return present({ ports: portsOf((await contree.instances.get(instance, signal)).ports) });
}

interface Followed {
  readonly streams: Readonly<Record<StreamName, StreamCollector>>;
  /** Undefined when the command goes on. */
  readonly exit: EventData<'exit'> | undefined;
}

interface Target {
  readonly instance: string;
  readonly spid: number;
}

/** Follows a process until it ends, or as long as the client can be expected to wait. */
async function follow(
  call: ToolCall,
  { instance, spid, seconds }: Target & { readonly seconds: number },
): Promise<Followed> {
  const { contree, signal } = call;
  const streams = { stdout: new StreamCollector('stdout'), stderr: new StreamCollector('stderr') };
  const deadline = AbortSignal.timeout(call.progress ? seconds * 1_000 + END_MS_EXTRA : call.inlineWaitMs);
  const either = AbortSignal.any([signal, deadline]);
  call.progress?.({ progress: 0, total: seconds, message: `process ${spid} of instance ${instance}` });
  try {
    const query = { follow: true, full: true, spid };
    for await (const event of contree.operations.events(instance, query, either)) {
      streams.stdout.add(event);
      streams.stderr.add(event);
      if (event.type === 'exit') return { streams, exit: event.data };
    }
  } catch (error) {
    if (signal.aborted) await abandon(call, { instance, spid });
    if (signal.aborted || !deadline.aborted) throw error;
    return { streams, exit: undefined };
  }
  const operation = await contree.operations.get(instance, { output_bytes: 0 }, signal);
  if (operation.status === 'FAILED') throw operationFault(operation, {});
  throw fault('INSTANCE_NOT_RUNNING', { operation: instance, status: operation.status });
}

async function abandon(call: ToolCall, { instance, spid }: Target): Promise<void> {
  if (!call.stopsWork()) return call.log(`process ${spid} of instance ${instance} goes on`);
  const killed = call.contree.processes.kill(instance, spid, { signal: 'KILL' }, AbortSignal.timeout(KILL_MS_MAX));
  // It may have ended meanwhile; any other failure has no receiver either.
  await killed.catch((error: unknown) =>
    call.log(`process ${spid} of instance ${instance} was not killed: ${String(error)}`),
  );
}

function shownStreams(
  { streams, exit }: Followed,
  { instance, spid, bytesMax }: Target & { readonly bytesMax: number },
): Pick<OperationFields, 'stdout' | 'stderr' | 'truncated'> {
  const show = (name: StreamName) => {
    const offset = Math.floor(bytesMax / 4);
    const page = `get_operation(operation_id="${instance}", process=${spid}, stream="${name}", offset=${offset}) shows more`;
    return showOutput(streams[name].kept, bytesMax, page);
  };
  const [stdout, stderr] = [show('stdout'), show('stderr')];
  return present({
    stdout: exit === undefined ? stdout.text || undefined : stdout.text,
    stderr: stderr.text || undefined,
    truncated: stdout.truncated || stderr.truncated || undefined,
  });
}

function endFields({
  code,
  signal,
  timed_out,
  out_of_memory,
  duration_ms,
}: EventData<'exit'>): Partial<OperationFields> {
  return present({
    exit_code: code >= 0 ? code : undefined,
    signal: signal > 0 ? signalName(signal) : undefined,
    timed_out: timed_out || undefined,
    out_of_memory: out_of_memory || undefined,
    duration_s: rounded(duration_ms / 1_000),
  });
}

function adviceOf({ command, shell }: ExecSpec, exit: EventData<'exit'>, stderr: string): string | undefined {
  const { code, signal, timed_out, core_dump = false, out_of_memory = false, pid } = exit;
  const state = { exit_code: code, signal, timed_out, core_dump, out_of_memory, pid, continued: false, stopped: false };
  return adviceFor({ script: shell ? command : undefined, state, stderr, saved: false });
}
