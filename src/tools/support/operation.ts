import { constants } from 'node:os';
import { z } from 'zod';
import { isFinished } from '../../contract/operation-state.ts';
import { OperationStatus, type OperationInstanceMetadata, type OperationResponse } from '../../contract/operation.ts';
import { streamBytes } from '../../contract/stream.ts';
import type { ConTree } from '../../contract/contree.ts';
import type { PortInfo } from '../../contract/instance.ts';
import type { InstanceResult, InstanceResultStream } from '../../contract/run.ts';
import { present } from '../../std/present.ts';
import { adviceFor } from './advice.ts';
import { hintOf } from './failure.ts';
import { hiddenFromClients } from './schema.ts';
import { readOutput, showOutput, type KeptOutput, type Shown, type StreamName } from './output.ts';
import { grouped, lines } from './text.ts';

const count = z.int().min(0);

/** A published port of an instance: its address on the machine of the engine, and the address of its pages. */
export const Port = z.object({ port: z.int(), address: z.string(), url: z.string().optional() });

/** Returns the published ports as models see them; undefined for none. */
export function portsOf(ports: readonly PortInfo[]): z.infer<typeof Port>[] | undefined {
  if (ports.length === 0) return undefined;
  return ports.map(({ port, host_port, url }) =>
    present({ port, address: `http://127.0.0.1:${host_port}`, url: url ?? undefined }),
  );
}

/** Returns a line per published port. */
export function portsText(ports: readonly z.infer<typeof Port>[] = []): string {
  return lines(
    ...ports.map(({ port, address, url }) => `port ${port}: ${address}${url === undefined ? '' : ` ${url}`}`),
  );
}

/**
 * Result of a run or import, in the order in which models read it: exit code and output first. Fields that do not apply
 * are absent, as are sizes of output that is whole, and changes of the file system where there are some.
 */
export const resultFields = {
  exit_code: z.int().optional(),
  signal: hiddenFromClients(z.string().optional()),
  timed_out: hiddenFromClients(z.boolean().optional()),
  out_of_memory: hiddenFromClients(z.boolean().optional()),
  stdout: z.string().optional(),
  stderr: z.string().optional(),
  truncated: hiddenFromClients(z.boolean().optional()),
  stdout_bytes: hiddenFromClients(count.optional()),
  stderr_bytes: hiddenFromClients(count.optional()),
  error: hiddenFromClients(z.string().optional()),
  image_uuid: z.string().optional(),
  tag: hiddenFromClients(z.string().optional()),
  filesystem_changed: hiddenFromClients(z.boolean().optional()),
  status: OperationStatus,
  duration_s: hiddenFromClients(z.number().optional()),
  sandbox: hiddenFromClients(z.string().optional()),
  /** Only of emulated microVMs: they are several times slower. */
  accelerator: hiddenFromClients(z.string().optional()),
  jail_missing: hiddenFromClients(z.string().optional()),
  operation_id: z.string(),
  /** Number of a process of an instance, where it is needed to find it again. */
  process: hiddenFromClients(count.optional()),
  /** Published ports of an instance. */
  ports: hiddenFromClients(z.array(Port).optional()),
  /** Nothing was run: the result is that of an earlier run, which ended `reused_age_s` seconds before. */
  reused: hiddenFromClients(z.boolean().optional()),
  reused_operation: hiddenFromClients(z.string().optional()),
  reused_age_s: hiddenFromClients(z.number().optional()),
  hint: hiddenFromClients(z.string().optional()),
};

/** Facts about a run that few calls need, which only get_operation shows. */
export const detailFields = {
  cpu_s: hiddenFromClients(z.number().optional()),
  max_rss: hiddenFromClients(count.optional()),
  cost: hiddenFromClients(z.number().optional()),
};
const operationFields = { ...resultFields, ...detailFields };
export type OperationFields = z.infer<z.ZodObject<typeof operationFields>>;

export interface SummaryOptions {
  readonly contree: ConTree;
  /** Bytes per stream to show. */
  readonly outputBytesMax: number;
  readonly signal: AbortSignal;
}

/**
 * Returns the summary of an operation in any state. Getting the operation with `output_bytes: outputBytesMax` saves
 * transferring output that the summary leaves out.
 */
export async function summarize(operation: OperationResponse, options: SummaryOptions): Promise<OperationFields> {
  const { uuid, kind, status, error, error_code: code } = operation;
  const failure = status === 'FAILED' ? hintOf(code) : undefined;
  const common: OperationFields = present({
    operation_id: uuid,
    status,
    duration_s: operation.duration > 0 ? rounded(operation.duration) : undefined,
    error: error ?? undefined,
    hint: isFinished(status) ? failure : waitHint(uuid),
  });
  if (kind === 'image_import') return { ...common, ...importFields(operation) };
  const { result } = operation.metadata as OperationInstanceMetadata;
  const streams = await streamFields(operation, options);
  return {
    ...common,
    ...imageFields(operation),
    ...stateFields(result),
    ...executionFields(operation),
    ...reuseFields(operation),
    ...streams,
    ...outcomeHint(operation, streams.stderr ?? ''),
  };
}

export function waitHint(...operations: readonly string[]): string {
  return `wait_operations(operation_ids=${JSON.stringify(operations)})`;
}

export function rounded(seconds: number): number {
  return Math.round(seconds * 100) / 100;
}

function importFields({ result, result_image_uuid: image }: OperationResponse): Partial<OperationFields> {
  if (image === null) return {};
  return present({ image_uuid: image, tag: result?.tag || undefined });
}

function imageFields({ image_uuid: before, result_image_uuid: after }: OperationResponse): Partial<OperationFields> {
  if (after === null) return {};
  return present({ image_uuid: after, filesystem_changed: after === before ? false : undefined });
}

function stateFields({ state, resources }: InstanceResult): Partial<OperationFields> {
  // The kernel counts the use of a process that was killed without that of its children.
  const whole = state !== undefined && !state.timed_out && state.signal <= 0;
  const used = whole ? resources : undefined;
  const cpu = used && Math.max(0, used.user_cpu_time) + Math.max(0, used.system_cpu_time);
  return present({
    exit_code: state && state.exit_code >= 0 ? state.exit_code : undefined,
    signal: state && state.signal > 0 ? signalName(state.signal) : undefined,
    timed_out: state?.timed_out || undefined,
    out_of_memory: state?.out_of_memory || undefined,
    cpu_s: cpu && rounded(cpu),
    max_rss: used && used.max_rss >= 0 ? used.max_rss : undefined,
    cost: used && used.cost > 0 ? rounded(used.cost) : undefined,
  });
}

function executionFields({ execution }: OperationResponse): Partial<OperationFields> {
  if (execution === undefined) return {};
  const { sandbox, accelerator, jail } = execution;
  return present({
    sandbox,
    accelerator: accelerator === 'emulated' ? accelerator : undefined,
    jail_missing: jail.missing.join(', ') || undefined,
  });
}

function reuseFields({
  reused,
  reused_operation: earlier,
  reused_age: age,
}: OperationResponse): Partial<OperationFields> {
  return present({ reused, reused_operation: earlier, reused_age_s: age && rounded(age) });
}

export function signalName(signal: number): string {
  const found = Object.entries(constants.signals).find(([, number]) => number === signal);
  return found?.[0] ?? String(signal);
}

async function streamFields(operation: OperationResponse, options: SummaryOptions): Promise<Partial<OperationFields>> {
  const { result } = operation.metadata as OperationInstanceMetadata;
  const out = await shownStream(operation, result.stdout, 'stdout', options);
  const err = await shownStream(operation, result.stderr, 'stderr', options);
  const ended = isFinished(operation.status);
  return present({
    // That there was no output is a result; that there is none yet is not.
    stdout: ended ? out?.text : out?.text || undefined,
    stdout_bytes: out?.truncated ? out.totalBytes : undefined,
    stderr: err?.text || undefined,
    stderr_bytes: err?.truncated ? err.totalBytes : undefined,
    truncated: out?.truncated || err?.truncated || undefined,
  });
}

async function shownStream(
  { uuid }: OperationResponse,
  stream: InstanceResultStream | undefined,
  name: StreamName,
  options: SummaryOptions,
): Promise<(Shown & { totalBytes: number }) | undefined> {
  if (stream === undefined) return undefined;
  const { outputBytesMax } = options;
  const kept = await keptOutput(uuid, stream, name, options);
  const offset = Math.floor(outputBytesMax / 4);
  const rest = `get_operation(operation_id="${uuid}", stream="${name}", offset=${offset}) shows more`;
  return { ...showOutput(kept, outputBytesMax, rest), totalBytes: kept.totalBytes };
}

/** Returns the output of a result, or of the log if the result came from a server that does not know `output_bytes`. */
async function keptOutput(
  operation: string,
  stream: InstanceResultStream,
  name: StreamName,
  { contree, signal }: SummaryOptions,
): Promise<KeptOutput> {
  const first = streamBytes(stream);
  const { size = first.length, tail, truncated } = stream;
  const last = tail ? streamBytes(tail) : Buffer.alloc(0);
  if (!truncated || stream.size !== undefined) return { first, last, totalBytes: size };
  const log = await readOutput(contree, { operation }, name, signal);
  // A log that holds less than the result was removed in the meantime.
  return log.first.length >= first.length ? log : { first, last, totalBytes: size };
}

/** Returns the hint that follows from the end of a run. */
function outcomeHint(operation: OperationResponse, stderr: string): Partial<OperationFields> {
  const { command, shell, result } = operation.metadata as OperationInstanceMetadata;
  if (operation.status !== 'SUCCESS' || result.state === undefined) return {};
  const after = operation.result_image_uuid;
  const saved = after !== null && after !== operation.image_uuid;
  const advice = adviceFor({ script: shell ? command : undefined, state: result.state, stderr, saved });
  return advice === undefined ? {} : { hint: advice };
}

/** Returns the text of a summary: `exit code 0 · 1.2 s · image …`, then the streams. */
export function operationText(fields: { [Key in keyof OperationFields]?: OperationFields[Key] | undefined }): string {
  // SUCCESS says only that the command was run: next to its end it would mislead.
  const ended = fields.exit_code !== undefined || fields.signal !== undefined;
  const facts = [
    !(ended && fields.status === 'SUCCESS') && fields.status,
    fields.exit_code !== undefined && `exit code ${fields.exit_code}`,
    fields.signal !== undefined && `ended by ${fields.signal}`,
    fields.timed_out && 'timed out',
    fields.out_of_memory && 'out of memory',
    fields.duration_s !== undefined && `${fields.duration_s} s`,
    fields.image_uuid !== undefined && `image ${fields.image_uuid}`,
    fields.tag !== undefined && `tag:${fields.tag}`,
    fields.filesystem_changed === false && 'nothing changed',
    fields.sandbox,
    fields.accelerator,
    fields.operation_id !== undefined && `operation ${fields.operation_id}`,
    fields.reused && `reused: result of operation ${fields.reused_operation}, ${fields.reused_age_s} s old`,
  ];
  return lines(
    facts.filter((fact) => typeof fact === 'string').join(' · '),
    fields.jail_missing !== undefined && `isolation of this host lacks: ${fields.jail_missing}`,
    fields.error !== undefined && `error: ${fields.error}`,
    portsText(fields.ports),
    streamText('stdout', fields.stdout, fields.stdout_bytes),
    streamText('stderr', fields.stderr, fields.stderr_bytes),
    fields.hint !== undefined && `Next: ${fields.hint}`,
  );
}

function streamText(name: StreamName, text: string | undefined, bytes: number | undefined): string {
  if (text === undefined || text === '') return '';
  return `--- ${name} (${grouped(bytes ?? Buffer.byteLength(text))} bytes)\n${text.replace(/\n$/u, '')}`;
}
