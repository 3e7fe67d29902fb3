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
import type { InstanceResult, StreamRepr } from '../contract/run.ts';
import { streamRepr } from '../contract/stream.ts';
import { parseColumn, timestamp } from '../store/database.ts';
import type { OutputStream, StoredEvent } from '../store/events.ts';
import type { StoredOperation } from '../store/operations.ts';
import type { ProjectStore } from '../store/project-store.ts';
import { exitResources, exitState, runningState } from './run/exit-event.ts';
import { RunRecord } from './run/record.ts';

/** An operation in a list. Times are seconds, `consumed_memory` is KiB. */
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

/** Part of a request of any kind that a line in a list shows. */
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

/** An operation with all there is to know of it now. */
export function responseOf(store: ProjectStore, operation: StoredOperation): OperationResponse {
  const { execution } = operation.outcome;
  return {
    ...summaryOf(operation),
    metadata: operation.kind === 'instance' ? runMetadata(store, operation) : importMetadata(operation),
    result: isFinished(operation.status) ? { image: operation.resultImage, tag: operation.resultTag } : null,
    ...(execution && { execution }),
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

function runMetadata(store: ProjectStore, operation: StoredOperation): OperationResponse['metadata'] {
  const record = parseColumn(RunRecord, operation.request, `request of operation ${operation.uuid}`);
  const { truncate_output_at: shownMax = Infinity } = record;
  const events = store.events.ofProcess(operation.uuid, SPID_MAIN, shownMax);
  return { ...record, result: fold(events, operation.outputDropped) };
}

function importMetadata(operation: StoredOperation): ImageImportMetadata {
  return parseColumn(ImageImportMetadata, operation.request, `request of operation ${operation.uuid}`);
}

/** Puts the events of one process together. Both streams are there even when nothing was written. */
function fold(events: readonly StoredEvent[], outputDropped: boolean): InstanceResult {
  const result: { state?: InstanceResult['state']; resources?: InstanceResult['resources'] } = {};
  let shownMax = Infinity;
  const truncated = new Set<OutputStream>();
  for (const event of events) {
    if (event.type === 'spawn') {
      shownMax = event.data.truncate_at;
      result.state = runningState(event.data.pid);
    }
    if (event.type === 'exit') {
      result.state = exitState(event.data);
      result.resources = exitResources(event.data);
    }
    if (event.type === 'truncated') truncated.add(event.data.stream);
  }
  const output = (stream: OutputStream): StreamRepr => {
    const chunks = events.flatMap((event) =>
      'bytes' in event && event.type === stream ? event.bytes.subarray(0, shownMax - event.offset) : [],
    );
    return streamRepr(Buffer.concat(chunks), outputDropped || truncated.has(stream));
  };
  return { ...result, stdout: output('stdout'), stderr: output('stderr') };
}
