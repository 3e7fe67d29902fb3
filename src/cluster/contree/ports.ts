import type { Duplex } from 'node:stream';
import { fault } from '../../contract/errors.ts';
import { isFinished } from '../../contract/operation.ts';
import { checkConnects, type PortOfInstance } from '../../engine/project/instances.ts';
import { RunRecord } from '../../engine/run/record.ts';
import { parseColumn } from '../../store/database.ts';
import type { ClusterContext } from './context.ts';

/**
 * Connects to a port of an open instance through the node that has it. Faults: OPERATION_NOT_FOUND, INSTANCE_NOT_READY,
 * INSTANCE_NOT_RUNNING, PERMISSION_MISSING, NODE_UNREACHABLE, and those of the port.
 */
export async function connectThrough(
  context: ClusterContext,
  { instance, port }: PortOfInstance,
  signal: AbortSignal,
): Promise<Duplex> {
  const { parts, tenant, project } = context;
  const { uuid, stays, status, startedAtMs, node, request } = await context.operations.get(instance);
  if (!stays) throw fault('OPERATION_NOT_FOUND', { operation: instance });
  if (isFinished(status)) throw fault('INSTANCE_NOT_RUNNING', { operation: uuid, status });
  if (startedAtMs === null || node === null) throw fault('INSTANCE_NOT_READY', { operation: uuid });
  if (node === parts.identity.name) return await parts.engine.connect(tenant, { instance: uuid, port }, signal);
  // The other node is asked by this one, which may do everything.
  const { disposable = false } = parseColumn(RunRecord, request, `request of operation ${uuid}`);
  checkConnects(tenant, disposable);
  return await parts.peers.tunnel(node, { instance: uuid, port, project }, signal);
}
