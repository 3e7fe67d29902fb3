import type { ConTree } from '../../contract/contree.ts';
import { fault } from '../../contract/errors.ts';
import type { InstanceOpenRequest, PortInfo } from '../../contract/instance.ts';
import { isUuid } from '../../contract/names.ts';
import type { OperationResponse } from '../../contract/operation.ts';
import { parseSeconds } from '../../std/sizes.ts';
import { failureOf } from '../terminal/outcome.ts';

/** Instances whose UUIDs are named when a name fits none or several. */
const NAMED_MAX = 5;

/**
 * Returns the UUID of the open instance that a user names by it or by its beginning. Faults: OPERATION_NOT_FOUND, which
 * names those that are open.
 */
export async function instanceNamed(contree: ConTree, text: string, signal: AbortSignal): Promise<string> {
  if (isUuid(text)) return text;
  const open = (await contree.instances.list({}, signal)).map(({ uuid }) => uuid);
  const [found, other] = open.filter((uuid) => text !== '' && uuid.startsWith(text));
  if (found !== undefined && other === undefined) return found;
  const known = open.length === 0 ? 'none is open' : `open are ${open.slice(0, NAMED_MAX).join(', ')}`;
  throw fault('ARGUMENT_INVALID', {
    reason: `${JSON.stringify(text)} is ${found === undefined ? 'no instance' : 'the beginning of several instances'}; ${known}`,
  });
}

/**
 * Opens an instance and resolves when commands can be executed in it. An instance whose start was interrupted is
 * cancelled. Rejects with the fault for which it could not start.
 */
export async function openInstance(
  contree: ConTree,
  request: InstanceOpenRequest,
  signal: AbortSignal,
): Promise<{ readonly uuid: string; readonly image: string }> {
  const { uuid, image } = await contree.instances.open(request, signal);
  try {
    for await (const { type } of contree.operations.events(uuid, { follow: true }, signal)) {
      if (type === 'init') return { uuid, image: image ?? (await contree.instances.get(uuid, signal)).image };
    }
  } catch (error) {
    // Interrupted: an instance that nobody knows of would stay until it is idle.
    await contree.operations.cancel(uuid).catch(() => undefined);
    throw error;
  }
  throw failureOf(await contree.operations.get(uuid, { output_bytes: 0 }, signal));
}

/** Closes an instance and returns its operation once it has ended. */
export async function closeInstance(
  contree: ConTree,
  uuid: string,
  request: { readonly keep?: boolean; readonly tag?: string },
  signal: AbortSignal,
): Promise<OperationResponse> {
  await contree.instances.close(uuid, request, signal);
  for await (const { type } of contree.operations.events(uuid, { follow: true, spid: 0 }, signal)) {
    if (type === 'completion') break;
  }
  return await contree.operations.get(uuid, { output_bytes: 0 }, signal);
}

/** Returns a line for a published port: `port 3000  http://127.0.0.1:41234  http://3000-….localhost:9452`. */
export function portLine({ port, host_port, url }: PortInfo): string {
  return `port ${port}  http://127.0.0.1:${host_port}${url === null ? '' : `  ${url}`}`;
}

/** Parses `PORT` or `PORT:HOST_PORT`. Faults: ARGUMENT_INVALID. */
export function portNumbers(text: string): { readonly port: number; readonly host_port?: number } {
  const [, port, host] = /^(\d{1,5})(?::(\d{1,5}))?$/u.exec(text) ?? [];
  const valid = (number: string | undefined): boolean => Number(number) >= 1 && Number(number) <= 65_535;
  if (!valid(port) || (host !== undefined && !valid(host))) {
    throw fault('ARGUMENT_INVALID', { reason: `${JSON.stringify(text)} is not PORT or PORT:HOSTPORT` });
  }
  return { port: Number(port), ...(host !== undefined && { host_port: Number(host) }) };
}

/** Parses a time such as `90`, `30m` or `2h` into seconds. Faults: ARGUMENT_INVALID. */
export function secondsOf(text: string, name: string): number {
  const seconds = parseSeconds(text);
  if (!seconds) throw fault('ARGUMENT_INVALID', { reason: `${name} takes a time such as 90s, 30m or 2h` });
  return seconds;
}
