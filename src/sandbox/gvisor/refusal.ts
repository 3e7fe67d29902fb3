import { fault, isFault } from '../../contract/errors.ts';
import { confined } from '../host/confinement.ts';
import type { Identity } from '../host/identity.ts';
import { runTool } from '../host/tool.ts';

const IN_A_CONTAINER = 'in a container with --security-opt seccomp=unconfined';

/** Next steps by the names of what gVisor needs and a host may refuse, as `contree-host-helper probe` prints them. */
const REMEDIES: Readonly<Record<string, string>> = {
  'user namespaces': `allow user namespaces: sysctl kernel.unprivileged_userns_clone=1, on Ubuntu kernel.apparmor_restrict_unprivileged_userns=0, ${IN_A_CONTAINER}`,
  ptrace: `allow ptrace: sysctl kernel.yama.ptrace_scope=1, ${IN_A_CONTAINER}`,
  'seccomp filters': `allow seccomp: ${IN_A_CONTAINER}`,
};

/**
 * Returns the error of a start that failed, or in its place a DRIVER_UNAVAILABLE that names what this host refuses to the
 * sandbox's user. gVisor itself only reports that its process ended.
 */
export async function explained(
  error: unknown,
  helper: string,
  identity: Identity | undefined,
  signal: AbortSignal,
): Promise<unknown> {
  if (signal.aborted || !isFault(error, 'DRIVER_UNAVAILABLE', 'GUEST_BOOT_TIMEOUT')) return error;
  const refused = await refusals(helper, identity, signal);
  if (refused.length === 0) return error;
  const names = refused.map(({ name, reason }) => `${name} (${reason})`);
  const remedies = refused.map(({ name }) => REMEDIES[name]);
  const remedy = remedies.filter((text) => text !== undefined).join('; ');
  return fault(
    'DRIVER_UNAVAILABLE',
    { reason: `this host refuses gVisor ${names.join(', ')}`, remedy },
    { cause: error },
  );
}

/** Returns what is refused to the sandbox's user, with the reason of the kernel; nothing where it cannot be tried. */
async function refusals(
  helper: string,
  identity: Identity | undefined,
  signal: AbortSignal,
): Promise<readonly { readonly name: string; readonly reason: string }[]> {
  const confinement = { descriptors: 3, identity, filter: false, limits: {} };
  // By a name under which that user can open it wherever it is.
  const [program, ...args] = confined(helper, confinement, ['/proc/self/exe', 'probe']);
  try {
    const lines = (await runTool(program, args, signal)).matchAll(/^([a-z ]+): (.+?)(?: \(os error \d+\))?$/gmu);
    return [...lines].map(([, name = '', reason = '']) => ({ name, reason }));
  } catch {
    return [];
  }
}
