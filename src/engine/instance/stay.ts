import { fault } from '../../contract/errors.ts';
import { SPID_INIT, SPID_MAIN } from '../../contract/event.ts';
import type { InstanceTerms, PortPublishRequest } from '../../contract/instance.ts';
import { limits } from '../../contract/limits.ts';
import type { Layer } from '../../store/layers.ts';
import type { StoredImage } from '../../store/images.ts';
import type { OperationContext, WorkResult } from '../operations.ts';
import type { InjectedSet } from '../run/injected-set.ts';
import type { ProcessFacts } from '../run/live-instance.ts';
import type { RunPlan } from '../run/plan.ts';
import { publication } from '../run/publication.ts';
import { inSession, type RunPlace, type Session } from '../run/session.ts';
import type { Instances } from './instances.ts';
import { OpenInstance, type InstanceEnd } from './open-instance.ts';

/** Accepted instance. */
export interface Stay {
  readonly image: StoredImage;
  readonly plan: Omit<RunPlan, 'config'>;
  readonly injected: InjectedSet | undefined;
  readonly terms: InstanceTerms;
  readonly publish: readonly PortPublishRequest[];
  /** Hold under which the request was accepted; released once the instance is up. */
  readonly hold: Disposable;
}

export interface StayPlace extends RunPlace {
  readonly instances: Instances;
  readonly publishAddress: string;
}

/** Remains of an instance that has ended. */
interface Left {
  readonly end: InstanceEnd;
  readonly commands: readonly ProcessFacts[];
  readonly added: readonly Layer[];
}

/**
 * Opens an instance and keeps it open until it is closed, idle, too old, or the engine stops. The sandbox has ended when
 * this returns. Rejects with ENGINE_STOPPED in the last case, after its changes were kept.
 */
export async function executeStay(place: StayPlace, stay: Stay, context: OperationContext): Promise<WorkResult> {
  const { image, plan, injected } = stay;
  const start = { image, injected, boot: plan.boot, firstSpid: SPID_MAIN + 1 };
  const { end, commands, added } = await inSession(place, start, context, (session) =>
    stayIn(place, stay, context, session),
  );
  place.store.events.append(context.uuid, SPID_INIT, 'shutdown', {
    stopped_at: new Date().toISOString(),
    reason: end.cause === 'closed' ? 'job_complete' : 'timeout',
    cause: end.cause,
  });
  const result = end.keep
    ? resultOf(place, context, stay, { end, commands, added })
    : { publish: () => ({}), durable: false };
  if (end.cause !== 'engine_stopped') return result;
  context.keep(result);
  throw fault('ENGINE_STOPPED', { operation: context.uuid });
}

function resultOf(
  place: StayPlace,
  context: OperationContext,
  { image }: Stay,
  { end, commands, added }: Left,
): WorkResult {
  const exitCode = commands.at(-1)?.exitCode;
  const command = commandOf(commands);
  const addition = { parent: image, added, config: image.config, command, exitCode, tag: end.tag };
  return publication(place, context, addition);
}

async function stayIn(place: StayPlace, stay: Stay, context: OperationContext, session: Session): Promise<Left> {
  const { plan, terms, hold, publish } = stay;
  const { live, instance, lower } = session;
  // From now on only what the sandbox stands on is kept, because it may stay for days.
  using _pinned = place.store.pin(lower.digests);
  hold[Symbol.dispose]();
  const { uuid } = context;
  const { events } = place.store;
  const { disposable } = plan;
  const { publishAddress } = place;
  await using open = new OpenInstance({ uuid, live, events, terms, disposable, instance, publishAddress });
  await live.adopt(plan.launch, { used: () => open.clock.used(), ended: (facts) => open.ran(facts) });
  for (const { port, host_port: hostPort = 0 } of publish) await open.ports.publish(port, hostPort);
  using _listed = place.instances.add(open);
  context.execute(live);
  const end = await session.whileUp(open.ended);
  await open.ports[Symbol.asyncDispose]();
  await live.close();
  session.mark('open');
  const committed = end.keep ? await session.commit() : undefined;
  const added = [lower.injected, committed].filter((layer) => layer !== undefined);
  return { end, commands: open.commands, added };
}

/** Returns the commands of an image as its lineage shows them. */
function commandOf(commands: readonly ProcessFacts[]): string {
  const text = commands.map(({ command }) => command).join('; ');
  return text === '' ? 'snapshot' : text.slice(0, limits.commandCharactersListed);
}
