import { SPID_INIT, SPID_MAIN } from '../../contract/event.ts';
import type { StoredImage } from '../../store/images.ts';
import type { Layer } from '../../store/layers.ts';
import type { OperationContext, WorkResult } from '../work.ts';
import { exitEvent, exitResources, exitState } from './exit-event.ts';
import type { InjectedSet } from './injected-set.ts';
import type { ProcessExit } from './live-instance.ts';
import type { RunPlan } from './plan.ts';
import { publication } from './publication.ts';
import { usedNetwork } from './reuse.ts';
import { inSession, type RunPlace, type Session } from './session.ts';

/** Accepted run. */
export interface Run {
  readonly image: StoredImage;
  readonly plan: RunPlan;
  readonly injected: InjectedSet | undefined;
  /** Command as shown in the lineage. */
  readonly command: string;
  /** Key under which the result is recorded for runs that ask for reuse; undefined where it never is. */
  readonly reuseKey: string | undefined;
}

/** End of a run's command, and what it adds to the image. */
interface RunEnd {
  readonly session: Session;
  readonly exit: ProcessExit;
  readonly added: readonly Layer[];
}

/**
 * Runs a command in a new instance of an image and stores its changes as a layer. The instance has ended when this
 * returns. Only the caller publishes the result image, so no visible image ever changes.
 */
export async function executeRun(place: RunPlace, run: Run, context: OperationContext): Promise<WorkResult> {
  const { image, plan, injected, command } = run;
  const start = { image, injected, boot: plan.boot, firstSpid: SPID_MAIN };
  const end = await inSession(place, start, context, (session) => ranIn(session, plan, context));
  const { exit, added } = end;
  place.store.events.append(context.uuid, SPID_INIT, 'shutdown', {
    stopped_at: new Date().toISOString(),
    reason: shutdownReason(exit),
  });
  const { exitCode } = exit.outcome;
  const result: WorkResult = plan.disposable
    ? { planned: () => ({}), publish: () => ({}), durable: false }
    : publication(place, context, { parent: image, added, config: plan.config, command, exitCode });
  const { reuseKey } = run;
  if (reuseKey === undefined || !isReproducible(end)) return result;
  const { instance } = end.session;
  const recorded = { sandbox: instance.facts.sandbox, network: usedNetwork(instance) };
  const publish: WorkResult['publish'] = (shared) => {
    place.store.recordedRuns.record({ key: reuseKey, sandbox: recorded.sandbox }, context.uuid, recorded);
    return result.publish(shared);
  };
  return { ...result, planned: () => ({ ...result.planned(), recorded }), publish };
}

/** Reports whether a command ended well by itself, so that an equal run would do the same. */
function isReproducible({ exit: { outcome, timedOut }, session }: RunEnd): boolean {
  const ended = outcome.exitCode === 0 && !timedOut && !outcome.outOfMemory && outcome.diskFull !== true;
  return ended && !session.live.disturbed;
}

/** Runs the command of a run, and stores what it changed. */
async function ranIn(session: Session, plan: RunPlan, context: OperationContext): Promise<RunEnd> {
  const { live, lower } = session;
  const main = await live.start(plan.launch);
  context.execute(live);
  const exit = await session.whileUp(main.ended);
  const event = exitEvent(exit.pid, exit.outcome, exit.timedOut);
  context.note({ state: exitState(event), resources: exitResources(event) });
  await live.close();
  session.mark('exec');
  const committed = plan.disposable ? undefined : await session.commit(lower.files);
  return { session, exit, added: [lower.injected, committed].filter((layer) => layer !== undefined) };
}

/** The hosted contract's word for why the instance goes away. */
function shutdownReason({ timedOut, outcome }: ProcessExit): 'timeout' | 'signal' | 'job_complete' {
  if (timedOut) return 'timeout';
  return outcome.signal > 0 ? 'signal' : 'job_complete';
}
