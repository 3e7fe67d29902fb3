import { randomUUID } from 'node:crypto';
import type { OperationKind } from '../../contract/operation.ts';
import { envelopeOf, inputsOf, type ClusterWork } from '../node/work.ts';
import type { ClusterContext } from './context.ts';

/** ClusterWork that was checked. */
export interface CheckedWork {
  readonly work: ClusterWork;
  readonly kind: OperationKind;
  /** Request as it is stored and shown, without secrets. */
  readonly record: object;
  /** UUID of the input image. */
  readonly image?: string;
  readonly stays?: boolean;
  readonly reuseKey?: string | undefined;
}

/**
 * Accepts work for the cluster and returns the UUID of its operation. Faults: UPLOAD_NOT_FOUND,
 * DIRECTORY_STATE_NOT_FOUND.
 */
export async function accept(context: ClusterContext, checked: CheckedWork): Promise<string> {
  const { tenant, project, parts, uploads } = context;
  const { work, kind, record, image, stays = false, reuseKey } = checked;
  const { files, states } = inputsOf(work);
  for (const file of new Set(files)) await uploads.get(file);
  for (const state of new Set(states)) await uploads.state(state);
  const uuid = randomUUID();
  await parts.queue.accept({
    uuid,
    project,
    token: tenant.token,
    kind,
    stays,
    request: JSON.stringify(record),
    work: parts.secret.seal(envelopeOf(work, tenant), uuid),
    image,
    reuseKey,
    quiet: parts.takes(image),
  });
  parts.wake();
  return uuid;
}
