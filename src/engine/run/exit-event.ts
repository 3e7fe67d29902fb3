import type { EventDataExit, EventResources } from '../../contract/event.ts';
import type { InstanceResultResources, InstanceResultState } from '../../contract/run.ts';
import type { Outcome, ResourceUsage } from '../../sandbox/driver.ts';
import type { z } from 'zod';

type State = z.infer<typeof InstanceResultState>;
type Resources = z.infer<typeof InstanceResultResources>;

/** Unknown amounts are −1 in results and 0 in events, as clients expect. */
export const UNKNOWN = -1;

/** Resources of a process that has not ended. */
export const UNKNOWN_RESOURCES: Resources = {
  block_input: UNKNOWN,
  block_output: UNKNOWN,
  cost: UNKNOWN,
  elapsed_time: UNKNOWN,
  involuntary_switches: UNKNOWN,
  max_rss: UNKNOWN,
  monotonic_time: UNKNOWN,
  page_faults: UNKNOWN,
  page_faults_io: UNKNOWN,
  shared_memory: UNKNOWN,
  signals: UNKNOWN,
  swaps: UNKNOWN,
  system_cpu_time: UNKNOWN,
  unshared_memory: UNKNOWN,
  user_cpu_time: UNKNOWN,
  voluntary_switches: UNKNOWN,
};

/** Returns the state of a process that has not ended; `pid` is unknown until it has started. */
export function runningState(pid: number): State {
  return {
    exit_code: UNKNOWN,
    pid,
    signal: UNKNOWN,
    core_dump: false,
    continued: false,
    stopped: false,
    timed_out: false,
  };
}

/** Stands in for the outcome of a process that was killed and never reported back. */
export function killedOutcome(durationMs: number): Outcome {
  const usage: ResourceUsage = {
    userTimeUs: 0,
    sysTimeUs: 0,
    maxRssKb: 0,
    minorFaults: 0,
    majorFaults: 0,
    voluntarySwitches: 0,
    involuntarySwitches: 0,
    blockInputOps: 0,
    blockOutputOps: 0,
  };
  return { exitCode: UNKNOWN, signal: 9, coreDump: false, outOfMemory: false, durationMs, usage };
}

export function exitEvent(pid: number, outcome: Outcome, timedOut: boolean): EventDataExit {
  return {
    pid,
    code: outcome.exitCode,
    signal: outcome.signal,
    timed_out: timedOut,
    duration_ms: Math.round(outcome.durationMs),
    resources: eventResources(outcome.usage),
    core_dump: outcome.coreDump,
    ...(outcome.outOfMemory && { out_of_memory: true }),
  };
}

function eventResources(usage: ResourceUsage): EventResources {
  return {
    user_time_us: usage.userTimeUs,
    sys_time_us: usage.sysTimeUs,
    max_rss_kb: usage.maxRssKb,
    shared_memory: 0,
    unshared_memory: 0,
    swaps: 0,
    minor_faults: usage.minorFaults,
    major_faults: usage.majorFaults,
    voluntary_ctx_switches: usage.voluntarySwitches,
    involuntary_ctx_switches: usage.involuntarySwitches,
    block_input_ops: usage.blockInputOps,
    block_output_ops: usage.blockOutputOps,
    ipc_msgs_sent: 0,
    ipc_msgs_received: 0,
    signals_received: 0,
  };
}

/** Returns the state that an `exit` event describes. */
export function exitState(exit: EventDataExit): State {
  return {
    ...runningState(exit.pid),
    exit_code: exit.code,
    signal: exit.signal,
    core_dump: exit.core_dump ?? false,
    timed_out: exit.timed_out,
    ...(exit.out_of_memory === true && { out_of_memory: true }),
  };
}

/** Returns the resources that an `exit` event reports; `cost` is CPU seconds. */
export function exitResources({ resources, duration_ms: durationMs }: EventDataExit): Resources {
  const user = resources.user_time_us / 1e6;
  const system = resources.sys_time_us / 1e6;
  return {
    ...UNKNOWN_RESOURCES,
    block_input: resources.block_input_ops,
    block_output: resources.block_output_ops,
    cost: user + system,
    elapsed_time: durationMs / 1e3,
    involuntary_switches: resources.involuntary_ctx_switches,
    max_rss: resources.max_rss_kb,
    monotonic_time: durationMs / 1e3,
    page_faults: resources.minor_faults,
    page_faults_io: resources.major_faults,
    system_cpu_time: system,
    user_cpu_time: user,
    voluntary_switches: resources.voluntary_ctx_switches,
  };
}
