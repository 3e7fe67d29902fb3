/** What a program is started with, and everything else is taken from it. */
export interface Wall {
  /** It keeps the descriptors below this number, all of which must be open. */
  readonly descriptors: number;
  /** Another user to become; only root can. */
  readonly identity?: { readonly uid: number; readonly gid: number } | undefined;
  /** Descriptor for what the helper tells about the wall, a line for each fact; it stays open for the program. */
  readonly facts?: number | undefined;
  /** Resource limits by the names of prlimit(1). */
  readonly limits: Readonly<Partial<Record<'fsize' | 'core' | 'nproc' | 'nofile' | 'as', number>>>;
  /** Whether bubblewrap is handed the filter of system calls; default true. */
  readonly filter?: boolean;
}

/** Where the program that was started first finds the helper's own file in the jail. */
export const HELPER_INSIDE = '/contree-host-helper';

/**
 * Returns the command that starts `command` behind a wall: no descriptor that was not named, an empty session keyring, limits,
 * another user, and an end with this process. The command is bubblewrap's: it is given the filter of system calls
 * (`guest/host-helper/src/filter.rs`) in the descriptor `wall.descriptors`, and the helper's own file in the next one.
 */
export function behindWall(
  helper: string,
  { descriptors, identity, facts, limits, filter = true }: Wall,
  command: readonly string[],
): readonly [string, ...string[]] {
  const values = {
    parent: process.pid,
    ...(facts !== undefined && { facts }),
    ...limits,
    ...identity,
    ...(!filter && { filter: 0 }),
  };
  const settings = Object.entries(values).map(([name, value]) => `${name}=${value}`);
  return [helper, 'wall', String(descriptors), ...settings, '--', ...command];
}

/** Returns the command that waits inside the jail for a byte on the descriptor `go` before it becomes `command`. */
export function onceAllowed(go: number, command: readonly string[]): string[] {
  return [HELPER_INSIDE, 'inside', String(go), '--', ...command];
}
