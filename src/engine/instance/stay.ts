import { fault } from '../../contract/errors.ts';
import { SPID_INIT, SPID_MAIN } from '../../contract/event.ts';
import type { InstanceTerms, PortPublishRequest } from '../../contract/instance.ts';
import type { StoredImage } from '../../store/images.ts';
import type { OperationContext, WorkResult } from '../work.ts';
import type { InjectedSet } from '../run/injected-set.ts';
import type { RunPlan } from '../run/plan.ts';
import { inSession, type RunPlace, type Session } from '../run/session.ts';
import { Checkpoints } from './checkpoints.ts';
import { CommandTrail } from './command-trail.ts';
import type { Instances } from './instances.ts';
import { LogBudget } from './log-budget.ts';
import type { LongHold } from './long-hold.ts';
import { OpenInstance, type InstanceEnd } from './open-instance.ts';
import { Snapshots } from './snapshots.ts';

/** Accepted instance. */
export interface Stay {
  readonly image: StoredImage;
  readonly plan: Omit<RunPlan, 'config'>;
  readonly injected: InjectedSet | undefined;
  readonly terms: InstanceTerms;
  readonly publish: readonly PortPublishRequest[];
  /** Hold under which the request was accepted, which ends with the operation. */
  readonly hold: LongHold;
}

export interface StayPlace extends RunPlace {
  readonly instances: Instances;
  readonly publishAddress: string;
}

/** Remains of an instance that has ended. */
interface Left {
  readonly cause: InstanceEnd['cause'];
  readonly result: WorkResult;
}

/**
 * Opens an instance and keeps it open until it is closed, idle, too old, or the engine stops. The sandbox has ended when
 * this returns. Rejects with ENGINE_STOPPED in the last case, after its changes were kept.
 */
export async function executeStay(place: StayPlace, stay: Stay, context: OperationContext): Promise<WorkResult> {
  const { image, plan, injected } = stay;
  const start = { image, injected, boot: plan.boot, firstSpid: SPID_MAIN + 1 };
  const { cause, result } = await inSession(place, start, context, (session) => stayIn(place, stay, context, session));
  place.store.events.append(context.uuid, SPID_INIT, 'shutdown', {
    stopped_at: new Date().toISOString(),
    reason: cause === 'closed' ? 'job_complete' : 'timeout',
    cause,
  });
  if (cause !== 'engine_stopped') return result;
  await context.keep(result, {});
  throw fault('ENGINE_STOPPED', { operation: context.uuid });
}

async function stayIn(place: StayPlace, stay: Stay, context: OperationContext, session: Session): Promise<Left> {
  const { image, plan, terms, hold, publish } = stay;
  const { live, instance, lower } = session;
  const { uuid } = context;
  const { events } = place.store;
  hold.loosen(lower.digests);
  const trail = new CommandTrail();
  await using snapshots = new Snapshots({ place, context, session, image, trail });
  const automatic = async (): Promise<void> => {
    try {
      await snapshots.take({ automatic: true });
    } catch (error) {
      if (context.signal.aborted) return;
      events.append(uuid, SPID_INIT, 'snapshot', { image: null, automatic: true, error: String(error) });
    }
  };
  using checkpoints = new Checkpoints(terms.checkpoint ?? {}, automatic, () => live.running > 0);
  await using budget = new LogBudget(events, uuid);
  const { disposable } = plan;
  const { publishAddress, instances, store } = place;
  const takePort = (): Disposable => instances.takePort(store.project);
  const parts = { uuid, live, events, terms, disposable, instance, publishAddress, takePort, snapshots, budget };
  await using open = new OpenInstance(parts);
  live.adopt(plan.launch, {
    used: () => open.clock.used(),
    wrote: (output) => budget.wrote(output),
    ended: (facts) => {
      trail.add(facts);
      budget.ended(facts.spid);
      checkpoints.ran();
    },
  });
  for (const { port, host_port: hostPort = 0 } of publish) await open.ports.publish(port, hostPort);
  using _listed = instances.add(open);
  context.execute(live);
  const { cause, keep, tag } = await session.whileUp(open.ended);
  await open.ports[Symbol.asyncDispose]();
  await live.close();
  checkpoints[Symbol.dispose]();
  await snapshots.settled();
  session.mark('open');
  if (!keep) return { cause, result: { planned: () => ({}), publish: () => ({}), durable: false } };
  hold.tighten();
  return { cause, result: await snapshots.last(tag) };
}
