import { z } from 'zod';
import { fault } from '../contract/errors.ts';
import { SPID_MAIN } from '../contract/event.ts';
import {
  ImageImportMetadata,
  isFinished,
  type OperationResponse,
  type OperationSummary,
} from '../contract/operation.ts';
import { limits } from '../contract/limits.ts';
import type { InstanceResult, InstanceResultStream } from '../contract/run.ts';
import { streamRepr } from '../contract/stream.ts';
import { present } from '../std/present.ts';
import { parseColumn, timestamp } from '../store/database.ts';
import type { OutputStream, StoredEvent, StoredOutput } from '../store/log/event-rows.ts';
import type { StoredOperation } from '../store/operations.ts';
import type { ProjectStore } from '../store/project-store.ts';
import { exitResources, exitState, runningState, UNKNOWN, UNKNOWN_RESOURCES } from './run/exit-event.ts';
import { RunRecord } from './run/record.ts';

/** Logs, of which those of one process are read. */
type ProcessEvents = Pick<ProjectStore['events'], 'ofProcess'>;

/** Returns an operation as lists show it. Times are in seconds, `consumed_memory` is in KiB. */
export function summaryOf(operation: StoredOperation): OperationSummary {
  const { resources, state } = operation.outcome;
  const { startedAtMs, finishedAtMs } = operation;
  const endMs = finishedAtMs ?? Date.now();
  return {
    uuid: operation.uuid,
    kind: operation.kind,
    status: operation.status,
    error: operation.error,
    created_at: timestamp(operation.createdAtMs),
    duration: startedAtMs === null ? 0 : Math.max(0, endMs - startedAtMs) / 1_000,
    image_size: operation.imageBytes,
    consumed_cpu: resources === undefined ? null : resources.user_cpu_time + resources.system_cpu_time,
    consumed_memory: resources?.max_rss ?? null,
    image_uuid: operation.image,
    result_image_uuid: operation.resultImage,
    subject: subjectOf(operation),
    ...(state && { exit_code: state.exit_code }),
  };
}

/** Fields of any kind of request that a line of a list shows. */
const Subject = z.object({
  command: z.string().optional(),
  args: z.array(z.string()).optional(),
  registry: z.object({ url: z.string() }).optional(),
});

function subjectOf({ uuid, request }: StoredOperation): string {
  const { command, args, registry } = parseColumn(Subject, request, `request of operation ${uuid}`);
  const words = [command ?? registry?.url ?? '', ...(args ?? [])];
  return words.join(' ').slice(0, limits.commandCharactersListed);
}

/**
 * Returns an operation with everything known about it now. With `outputBytesMax`, the output of a run is limited to so
 * many bytes from the start of each stream and as many from its end.
 */
export function responseOf(
  store: { readonly events: ProcessEvents },
  operation: StoredOperation,
  outputBytesMax?: number,
): OperationResponse {
  const { execution, reused } = operation.outcome;
  return {
    ...summaryOf(operation),
    metadata: operation.kind === 'instance' ? runMetadata(store, operation, outputBytesMax) : importMetadata(operation),
    result: isFinished(operation.status) ? { image: operation.resultImage, tag: operation.resultTag } : null,
    ...present({ execution }),
    ...(reused && { reused: true as const, reused_operation: reused.operation, reused_age: reused.age }),
    ...(operation.errorCode !== null && { error_code: operation.errorCode }),
  };
}

/** Returns the result of one process of a run. Throws SUBPROCESS_NOT_FOUND. */
export function processResult(store: ProjectStore, operation: StoredOperation, spid: number): InstanceResult {
  const events = store.events.ofProcess(operation.uuid, spid, Infinity);
  if (!events.some(({ type }) => type === 'spawn')) {
    throw fault('SUBPROCESS_NOT_FOUND', { operation: operation.uuid, spid });
  }
  return fold(events, operation.outputDropped);
}

function runMetadata(
  store: { readonly events: ProcessEvents },
  operation: StoredOperation,
  outputBytesMax?: number,
): OperationResponse['metadata'] {
  const record = parseColumn(RunRecord, operation.request, `request of operation ${operation.uuid}`);
  const { truncate_output_at: shownMax = Infinity } = record;
  const events = store.events.ofProcess(
    operation.uuid,
    SPID_MAIN,
    outputBytesMax ?? shownMax,
    outputBytesMax !== undefined,
  );
  return { ...record, result: fold(events, operation.outputDropped, outputBytesMax) };
}

function importMetadata(operation: StoredOperation): ImageImportMetadata {
  return parseColumn(ImageImportMetadata, operation.request, `request of operation ${operation.uuid}`);
}

/**
 * Combines the events of one process into its result. Every part is present at any time, as clients of the hosted
 * service expect: streams are empty while nothing was written, state and resources hold -1 until the process has ended.
 * With `endBytesMax` each stream has its size, and its two ends instead of all that the process's `truncate_at` shows.
 */
function fold(events: readonly StoredEvent[], outputDropped: boolean, endBytesMax?: number): InstanceResult {
  let state = runningState(UNKNOWN);
  let resources = UNKNOWN_RESOURCES;
  let shownMax = Infinity;
  const truncated = new Set<OutputStream>();
  const sizes: Record<OutputStream, number> = { stdout: 0, stderr: 0 };
  for (const event of events) {
    if (event.type === 'spawn') {
      shownMax = event.data.truncate_at;
      state = runningState(event.data.pid);
    }
    if (event.type === 'exit') {
      state = exitState(event.data);
      resources = exitResources(event.data);
    }
    if (event.type === 'truncated') {
      const { stream, bytes_emitted: emitted, bytes_dropped: dropped } = event.data;
      truncated.add(stream);
      sizes[stream] = Math.max(sizes[stream], emitted + dropped);
    }
    if ('bytes' in event) sizes[event.type] = Math.max(sizes[event.type], event.offset + event.bytes.byteLength);
  }
  const output = (stream: OutputStream): InstanceResultStream => {
    const chunks = events.filter((event) => 'bytes' in event && event.type === stream) as StoredOutput[];
    if (endBytesMax === undefined) {
      return streamRepr(firstBytes(chunks, shownMax), outputDropped || truncated.has(stream));
    }
    return endsOf(chunks, { size: sizes[stream], endBytesMax, outputDropped });
  };
  return { resources, state, stdout: output('stdout'), stderr: output('stderr') };
}

/** Returns the first bytes of a stream and, where these are not all of it, the last bytes of those that were kept. */
function endsOf(
  chunks: readonly StoredOutput[],
  {
    size,
    endBytesMax,
    outputDropped,
  }: { readonly size: number; readonly endBytesMax: number; readonly outputDropped: boolean },
): InstanceResultStream {
  const first = firstBytes(chunks, endBytesMax);
  const whole = first.byteLength === size;
  const last = whole ? first.subarray(0, 0) : lastBytes(chunks, endBytesMax);
  return {
    ...streamRepr(first, outputDropped || !whole),
    size,
    ...(last.byteLength > 0 && { tail: streamRepr(last) }),
  };
}

/** Returns the bytes from the start of a stream up to `bytesMax`. */
function firstBytes(chunks: readonly StoredOutput[], bytesMax: number): Buffer {
  return Buffer.concat(chunks.map(({ offset, bytes }) => bytes.subarray(0, Math.max(0, bytesMax - offset))));
}

/** Returns the last bytes of a stream up to `bytesMax`, and none from before a gap. */
function lastBytes(chunks: readonly StoredOutput[], bytesMax: number): Buffer {
  const afterGap = chunks.findLastIndex(({ offset }, index) => {
    const before = chunks[index - 1];
    return before === undefined || before.offset + before.bytes.byteLength !== offset;
  });
  const kept = Buffer.concat(chunks.slice(Math.max(0, afterGap)).map(({ bytes }) => bytes));
  return kept.subarray(Math.max(0, kept.byteLength - bytesMax));
}
