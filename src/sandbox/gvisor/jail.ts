import { PROCESSES_MAX } from '../host/cgroup.ts';
import type { JailFacts } from '../driver.ts';
import type { Identity } from '../host/identity.ts';
import { confined } from '../host/confinement.ts';
import { EMPTY_KEYRING } from '../host/live-facts.ts';
import { SANDBOX_FD, helperCommand, INSIDE, SIDECARS, type SandboxShape } from './bundle.ts';
import type { GuestLink } from '../network/index.ts';
import type { Runsc } from './runsc.ts';

export interface SandboxJailOptions {
  /** Hostname inside and name of the container, which identify the jails of one driver. */
  readonly owner: string;
  /** Paths of programs. */
  readonly bwrap: string;
  readonly helper: string;
  readonly runsc: Runsc;
  /** True when control groups limit the resources of a sandbox. */
  readonly limited: boolean;
}

/** Settings that differ from one jail to the next. */
export interface SandboxJailSpec {
  readonly identity: Identity | undefined;
  readonly shape: SandboxShape;
  readonly link: GuestLink | undefined;
  /** Programs of `ClosedPrograms.shown`. */
  readonly shown: readonly string[];
  /** Path of a program of `ClosedPrograms.copied` → descriptor with its content. */
  readonly copied: ReadonlyMap<string, number>;
  /** Number below which all descriptors are passed to the sandbox. */
  readonly descriptors: number;
  /** Files of control groups that the sandbox joins. */
  readonly groups: readonly string[];
}

const GIB = 1024 ** 3;
/** Size limit of the sandbox's memory file. Each of up to 1,024 processes (guest/agent/src/container) reserves 17 MiB of it. */
const ADDRESS_SPACES_BYTES = 1_024 * 17 * 1024 ** 2;

/**
 * The jail of a gVisor sandbox: bubblewrap makes namespaces in which runsc is root and sees only its own programs,
 * `/dev/null` and the descriptors of the run.
 */
export class SandboxJail {
  readonly facts: JailFacts;
  readonly #options: SandboxJailOptions;

  constructor(options: SandboxJailOptions, identity: Identity | undefined) {
    this.#options = options;
    this.facts = factsOf(identity !== undefined, options.limited);
  }

  /** Program and arguments that run the sandbox. */
  command(spec: SandboxJailSpec): readonly [string, ...string[]] {
    const { identity, shape, descriptors, groups, shown } = spec;
    const confinement = {
      descriptors,
      identity,
      facts: SANDBOX_FD.info,
      groups,
      shown,
      program: 'gvisor' as const,
      limits: {
        core: 0,
        fsize: Math.max(shape.diskBytes, shape.memoryMib * 1024 ** 2 + ADDRESS_SPACES_BYTES) + GIB,
        // The limit counts all processes of a user, so it is useful only for a user without other processes.
        ...(identity !== undefined && { nproc: PROCESSES_MAX.gvisor }),
      },
    };
    const { owner, bwrap, helper } = this.#options;
    return confined(helper, confinement, [
      bwrap,
      ...this.#namespaces(),
      ...this.#files(spec.copied),
      // Holds for the helper and runsc, too. gVisor's kernel adds its own, which is narrower.
      '--seccomp',
      String(descriptors),
      '--info-fd',
      String(SANDBOX_FD.info),
      '--',
      ...helperCommand(owner, spec.link),
    ]);
  }

  #namespaces(): string[] {
    return [
      ['--unshare-user', '--uid', '0', '--gid', '0', '--cap-add', 'ALL', '--as-pid-1'],
      ['--unshare-pid', '--unshare-net', '--unshare-ipc', '--unshare-uts', '--unshare-cgroup-try'],
      ['--die-with-parent', '--new-session', '--clearenv'],
      ['--setenv', 'GVISOR_SIDECAR_BINARIES_DIR', INSIDE.sidecars],
      ['--hostname', this.#options.owner],
      ['--chdir', '/'],
    ].flat();
  }

  /** Paths of the programs that the jail contains. */
  get programs(): readonly string[] {
    const { runsc, helper } = this.#options;
    return [helper, runsc.path, ...Object.values(runsc.sidecars)];
  }

  #files(copied: SandboxJailSpec['copied']): string[] {
    const { runsc, helper } = this.#options;
    const { sentry, prewarmer } = runsc.sidecars;
    const bind = (from: string, to: string): string[] => {
      const descriptor = copied.get(from);
      if (descriptor === undefined) return ['--ro-bind', from, to];
      return ['--perms', '0555', '--ro-bind-data', String(descriptor), to];
    };
    const programs = [
      bind(helper, INSIDE.helper),
      bind(runsc.path, INSIDE.runsc),
      ['--symlink', INSIDE.helper, `${INSIDE.sidecars}/${SIDECARS.prewarmer}`],
      sentry === undefined ? [] : bind(sentry, `${INSIDE.sidecars}/${SIDECARS.sentry}`),
      prewarmer === undefined ? [] : bind(prewarmer, INSIDE.prewarmer),
    ];
    return [
      programs.flat(),
      ['--dev-bind', '/dev/null', '/dev/null'],
      ['/run', '/tmp'].flatMap((path) => ['--tmpfs', path]),
      ['/disk', `${INSIDE.bundle}/root`].flatMap((path) => ['--dir', path]),
      ['--ro-bind-data', String(SANDBOX_FD.spec), `${INSIDE.bundle}/config.json`],
      ['--ro-bind-data', String(SANDBOX_FD.flags), `${INSIDE.bundle}/flags`],
      ['--proc', '/proc'],
    ].flat();
  }
}

function factsOf(ownUser: boolean, limited: boolean): JailFacts {
  const facts: readonly (readonly [string, boolean])[] = [
    ['own uid', ownUser],
    ['user namespace', true],
    ['mount namespace', true],
    ['pid namespace', true],
    ['network namespace', true],
    ['ipc namespace', true],
    ['uts namespace', true],
    ['cgroup namespace', true],
    ['no new privileges', true],
    ['seccomp', true],
    [EMPTY_KEYRING, true],
    ['resource limits', true],
    ['memory and CPU limits', limited],
  ];
  const names = (present: boolean): string[] => facts.filter(([, has]) => has === present).map(([name]) => name);
  return { parts: names(true), missing: names(false) };
}
