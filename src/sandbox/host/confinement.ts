/** Rights with which a program is started; it has no others. */
export interface Confinement {
  /** Number below which all descriptors are kept, and must be open. */
  readonly descriptors: number;
  /** User to change to, which only root can. */
  readonly identity?: { readonly uid: number; readonly gid: number } | undefined;
  /** Descriptor to which the helper writes facts, a line for each; it stays open for the program. */
  readonly facts?: number | undefined;
  /** Files of control groups that the program joins (`Cgroup.entrances`). */
  readonly groups?: readonly string[];
  /** Files that the program reaches by their paths, although only another user may enter their folders. */
  readonly shown?: readonly string[];
  /** Resource limits by the names of prlimit(1). */
  readonly limits: Readonly<Partial<Record<'fsize' | 'core' | 'nproc' | 'nofile' | 'as', number>>>;
  /** Program in the jail, which decides the seccomp filter. Default: QEMU. */
  readonly program?: 'qemu' | 'gvisor';
}

/** Path of the helper's own file in the jail. */
export const HELPER_INSIDE = '/contree-host-helper';

/**
 * Returns the command that starts `command` confined: only listed descriptors, an empty session keyring, limits, another
 * user, and an end with this process. `command` is bubblewrap's. It gets the seccomp filter
 * (`guest/host-helper/src/filter.rs`) in the descriptor `confinement.descriptors`, and with QEMU the helper's own file in the
 * next one.
 */
export function confined(
  helper: string,
  { descriptors, identity, facts, groups = [], shown = [], limits, program = 'qemu' }: Confinement,
  command: readonly string[],
): readonly [string, ...string[]] {
  const values = {
    parent: process.pid,
    ...(facts !== undefined && { facts }),
    ...limits,
    ...identity,
    ...(program === 'gvisor' && { gvisor: 1 }),
  };
  const settings = [
    ...groups.map((file) => `group=${file}`),
    ...shown.map((file) => `show=${file}`),
    ...Object.entries(values).map(([name, value]) => `${name}=${value}`),
  ];
  return [helper, 'confine', String(descriptors), ...settings, '--', ...command];
}

/** Returns the command that asks inside the jail with a byte on the descriptor `go` and becomes `command` when it gets one. */
export function onceAllowed(go: number, command: readonly string[]): string[] {
  return [HELPER_INSIDE, 'inside', String(go), '--', ...command];
}
