/** What a program is started with, and everything else is taken from it. */
export interface Wall {
  /** It keeps the descriptors below this number, all of which must be open. */
  readonly descriptors: number;
  /** Another user to become; only root can. */
  readonly identity?: { readonly uid: number; readonly gid: number } | undefined;
  /** Resource limits by the names of prlimit(1). */
  readonly limits: Readonly<Partial<Record<'fsize' | 'core' | 'nproc' | 'nofile' | 'as', number>>>;
  /** Whether bubblewrap is handed the filter of system calls; default true. */
  readonly filter?: boolean;
}

/**
 * Returns the command that starts `command` behind a wall: no descriptor that was not named, a session keyring of its own,
 * limits, another user. The command is bubblewrap's: it is given the filter of system calls (`guest/host-helper/src/filter.rs`) in the
 * descriptor `wall.descriptors`.
 */
export function behindWall(
  helper: string,
  { descriptors, identity, limits, filter = true }: Wall,
  command: readonly string[],
): readonly [string, ...string[]] {
  const settings = Object.entries({ ...limits, ...identity, ...(filter ? {} : { filter: 0 }) }).map(
    ([name, value]) => `${name}=${value}`,
  );
  return [helper, 'wall', String(descriptors), ...settings, '--', ...command];
}
