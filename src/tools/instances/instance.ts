import { z } from 'zod';
import type { ConTree } from '../../contract/contree.ts';
import { fault } from '../../contract/errors.ts';
import { isUuid } from '../../contract/names.ts';
import { closestOf } from '../../contract/closest.ts';

export const instance = z.string().min(1).max(64);

/** UUIDs of instances that a refusal names. */
const NAMED_MAX = 5;

/**
 * Returns the UUID of the open instance of that UUID or of which it is the beginning. Faults: ARGUMENT_INVALID, which names
 * the closest of those that are open; INSTANCE_NOT_RUNNING for one that has ended.
 */
export async function openInstanceNamed(contree: ConTree, name: string, signal: AbortSignal): Promise<string> {
  const open = (await contree.instances.list({}, signal)).map(({ uuid }) => uuid);
  const [found, other] = open.filter((uuid) => uuid.startsWith(name));
  if (found !== undefined && other === undefined) return found;
  if (found === undefined && isUuid(name)) {
    // Known, and ended: what became of it says more than that it is not open.
    const { status } = await contree.instances.get(name, signal);
    if (status !== 'PENDING' && status !== 'ASSIGNED' && status !== 'EXECUTING') {
      throw fault('INSTANCE_NOT_RUNNING', { operation: name, status });
    }
    return name;
  }
  const near = closestOf(name, open);
  const known = (near.length > 0 ? near : open).slice(0, NAMED_MAX).join(', ');
  const what = known === '' ? 'none is open; open_instance(image=…) opens one' : `open are ${known}`;
  throw fault('ARGUMENT_INVALID', {
    reason: `argument "instance": ${JSON.stringify(name)} is not an open instance; ${what}`,
  });
}
