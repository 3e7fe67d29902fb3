import type { InstanceDetails, InstanceProcess, InstanceSummary, PortInfo } from '../../contract/instance.ts';
import { isFinished } from '../../contract/operation.ts';
import { present } from '../../std/present.ts';
import { parseColumn, timestamp } from '../../store/database.ts';
import type { StoredOperation } from '../../store/operations.ts';
import { RunRecord } from '../run/record.ts';
import type { ProcessFacts } from '../run/live-instance.ts';
import type { OpenInstance } from './open-instance.ts';
import type { PublishedPort } from './ports.ts';

/** Returns an instance as lists show it; `open` is its running part, if it has one now. */
export function instanceSummary(operation: StoredOperation, open: OpenInstance | undefined): InstanceSummary {
  const { uuid, image, request, status, createdAtMs, finishedAtMs, outcome } = operation;
  const { disposable = false } = parseColumn(RunRecord, request, `request of operation ${uuid}`);
  const time = (ms: number | undefined): string | null => (ms === undefined ? null : timestamp(ms));
  return {
    uuid,
    image: image ?? '',
    status,
    disposable,
    created_at: timestamp(createdAtMs),
    last_used_at: timestamp(open?.clock.usedAtMs ?? finishedAtMs ?? createdAtMs),
    idle_at: time(open?.clock.idleAtMs),
    ends_at: time(open?.clock.endsAtMs),
    sandbox: open?.sandbox ?? outcome.execution?.sandbox ?? null,
    processes: isFinished(status) ? 0 : (open?.live.running ?? 0),
    snapshots: outcome.snapshots ?? 0,
    last_snapshot: operation.resultImage === image ? null : operation.resultImage,
    ports: (open?.ports.published ?? []).map(portInfo),
  };
}

/** Returns a published port; its URL is known to the server, not to the engine. */
export function portInfo({ port, hostPort }: PublishedPort): PortInfo {
  return { port, host_port: hostPort, url: null };
}

/** Returns an instance with its processes. */
export function instanceDetails(operation: StoredOperation, open: OpenInstance | undefined): InstanceDetails {
  const processes = (open?.live.processes ?? []).map(processOf);
  return {
    ...instanceSummary(operation, open),
    processes,
    ...present({ processes_forgotten: open?.forgotten || undefined }),
  };
}

function processOf({ spid, pid, command, startedAtMs, exitCode }: ProcessFacts): InstanceProcess {
  return { spid, pid, command, started_at: timestamp(startedAtMs), ...present({ exit_code: exitCode }) };
}
