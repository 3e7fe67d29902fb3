import { access } from 'node:fs/promises';
import { dirname } from 'node:path';
import { defined } from '../../../std/assert.ts';
import { fault, isFault } from '../../../contract/errors.ts';
import type { HostDevice } from './accelerator.ts';
import type { JailFacts } from '../../driver.ts';
import { EMPTY_KEYRING } from '../../host/live-facts.ts';
import { existing } from '../../host/programs.ts';
import { libraries, type Host } from './host.ts';
import type { Identity } from '../../host/identity.ts';
import { type Machine, OVERHEAD_MIB } from '../vm/machine.ts';
import { runTool } from '../../host/tool.ts';
import { confined, HELPER_INSIDE, onceAllowed } from '../../host/confinement.ts';

/**
 * Ways to set up the jail. `unprivileged`: bubblewrap itself runs as the microVM's identity and makes a user namespace.
 * `privileged`: where other users cannot make user namespaces, bubblewrap runs as root, but QEMU still as the microVM's
 * identity.
 */
export type JailKind = 'unprivileged' | 'privileged';

export interface JailLimits {
  /** Machine that QEMU runs; undefined for a QEMU without a guest. */
  readonly machine?: Machine;
  /** Size of the largest file that QEMU may write. */
  readonly fileBytesMax: number;
}

export interface JailOptions {
  readonly owner: string;
  /** Path of the host's helper. */
  readonly helper: string;
  readonly identity: Identity | undefined;
  /** True when control groups limit its resources. */
  readonly limited: boolean;
  /** Kinds to try, strongest first. */
  readonly kinds?: readonly JailKind[];
}

/** Settings that differ from one jail to the next. */
export interface JailSpec {
  readonly identity: Identity | undefined;
  readonly limits: JailLimits;
  /** Number below which all descriptors are passed to QEMU. */
  readonly descriptors: number;
  readonly device?: HostDevice;
  /** Files of control groups that QEMU joins. */
  readonly groups?: readonly string[];
  /**
   * Descriptors: on `info` the helper reports the session keyring and bubblewrap its child; a byte on `go` starts QEMU.
   * Without them QEMU starts at once.
   */
  readonly sockets?: { readonly info: number; readonly go: number };
}

interface JailForm {
  readonly kind: JailKind;
  /** Files that only the start of QEMU needs. */
  readonly extra: readonly string[];
  /** Files below /proc that reveal facts about the user's other processes, as far as this kernel has them. */
  readonly hidden: readonly string[];
  readonly facts: JailFacts;
}

/** File that names the keys of the user; they are the engine's when it is not root. */
const HIDDEN_FILES: readonly string[] = ['/proc/keys'];
const DESCRIPTORS_MAX = 512;
const PROCESSES_MAX = 256;
const WHOLE_FOLDER_MIN = 8;
/** Address space that QEMU reserves but does not fill: code buffers, stacks, mapped firmware. */
const ADDRESS_SPACE_SLACK_MIB = 4_096;

/** The jail around QEMU: what it can see of the host, and the user that it runs as. Every microVM gets its own. */
export class Jail {
  readonly kind: JailKind;
  readonly facts: JailFacts;
  readonly #host: Host;
  /** Hostname inside, which identifies the jails of one driver. */
  readonly #owner: string;
  readonly #helper: string;
  readonly #files: readonly string[];
  readonly #hidden: readonly string[];
  #startMs = 0;

  private constructor(host: Host, { owner, helper }: JailOptions, { kind, extra, hidden, facts }: JailForm) {
    this.#host = host;
    this.#owner = owner;
    this.#helper = helper;
    this.kind = kind;
    this.#files = bindsOf([...host.qemuFiles, ...extra]);
    this.#hidden = hidden;
    this.facts = facts;
  }

  /**
   * Builds the strongest jail that this host allows, and tests it by running QEMU in it. Rejects with DRIVER_UNAVAILABLE where
   * no kind works, because nothing is started without a jail.
   */
  static async open(host: Host, options: JailOptions, signal: AbortSignal): Promise<Jail> {
    const { identity, kinds = ['unprivileged', 'privileged'] } = options;
    let failure: Error | undefined;
    for (const kind of kinds) {
      // Without another identity to change to, the privileged kind would leave QEMU with root's rights.
      if (kind === 'privileged' && identity === undefined) continue;
      const { setpriv } = host.tools;
      const extra = kind === 'privileged' ? [setpriv, ...(await libraries([setpriv], signal))] : [];
      const hidden = await existing(HIDDEN_FILES);
      const jail = new Jail(host, options, { kind, extra, hidden, facts: await factsOf(kind, options) });
      const startedMs = performance.now();
      const reason = await jail.#probe(identity, signal);
      jail.#startMs = performance.now() - startedMs;
      if (reason === undefined) return jail;
      failure ??= reason;
    }
    throw defined(failure, 'a kind was tried');
  }

  /** Milliseconds that QEMU once took to start in the jail and to end, as a measure of this host's speed. */
  get startMs(): number {
    return this.#startMs;
  }

  /** Returns program and arguments that run QEMU with `qemuArguments` in the jail. */
  command(spec: JailSpec, qemuArguments: readonly string[]): readonly [string, ...string[]] {
    const { limits, identity, descriptors, sockets, groups = [] } = spec;
    const mib = 1024 ** 2;
    const resources = {
      core: 0,
      nofile: DESCRIPTORS_MAX,
      fsize: limits.fileBytesMax,
      as: ((limits.machine?.memoryMib ?? 0) + OVERHEAD_MIB + ADDRESS_SPACE_SLACK_MIB) * mib,
      // The limit counts all processes of a user, so it is useful only for a user without other processes.
      ...(identity !== undefined && { nproc: PROCESSES_MAX }),
    };
    const privileged = this.kind === 'privileged' && identity !== undefined;
    const confinement = {
      descriptors,
      // The privileged kind changes its user later, inside the jail.
      identity: privileged ? undefined : identity,
      facts: sockets?.info,
      groups,
      limits: resources,
    };
    // The name identifies the owner once bubblewrap, whose command line has the hostname, is gone.
    const qemu = [this.#host.qemu.path, '-name', this.#owner, ...qemuArguments];
    const started = [...(privileged ? this.#setpriv(identity) : []), ...qemu];
    return confined(this.#helper, confinement, [
      this.#host.bwrap.path,
      ...this.#bwrap(spec),
      '--',
      ...(sockets === undefined ? started : onceAllowed(sockets.go, started)),
    ]);
  }

  #setpriv({ uid, gid }: Identity): string[] {
    const none = ['--clear-groups', '--inh-caps=-all', '--bounding-set=-all', '--no-new-privs'];
    return [this.#host.tools.setpriv, `--reuid=${uid}`, `--regid=${gid}`, ...none];
  }

  #bwrap({ device, sockets, descriptors }: JailSpec): string[] {
    // QEMU could control bubblewrap's own process in the jail where both have one user, so there QEMU is the first process.
    const privileges =
      this.kind === 'unprivileged'
        ? [['--unshare-user'], ['--disable-userns'], ['--cap-drop', 'ALL'], ['--as-pid-1']]
        : [['--cap-drop', 'ALL'], ...['SETUID', 'SETGID', 'SETPCAP'].map((name) => ['--cap-add', `CAP_${name}`])];
    const devices = device === undefined ? ['/dev/null'] : ['/dev/null', device.path];
    return [
      ...privileges,
      ['--unshare-pid', '--unshare-net', '--unshare-ipc', '--unshare-uts', '--unshare-cgroup-try'],
      ['--die-with-parent', '--new-session', '--clearenv'],
      ['--hostname', this.#owner],
      ['--seccomp', String(descriptors)],
      ['--chdir', '/'],
      ...(this.kind === 'privileged' ? this.#openFolders() : []),
      ...this.#files.map((path) => ['--ro-bind', path, path]),
      ...devices.map((path) => ['--dev-bind', path, path]),
      ...(sockets === undefined
        ? []
        : [
            ['--info-fd', String(sockets.info)],
            ['--perms', '0555', '--ro-bind-data', String(descriptors + 1), HELPER_INSIDE],
          ]),
      ['--proc', '/proc'],
      // A device cannot be opened where devices are not allowed.
      ...this.#hidden.map((path) => ['--ro-bind', '/dev/null', path]),
      ['--remount-ro', '/'],
    ].flat();
  }

  /** Makes the folders above the files beforehand. Otherwise they would belong to root and be closed to others. */
  #openFolders(): string[][] {
    const above = (path: string): string[] => (path === '/' ? [] : [...above(dirname(path)), path]);
    const folders = new Set(this.#files.flatMap((path) => above(dirname(path))));
    return [...folders].map((path) => ['--perms', '0755', '--dir', path]);
  }

  /** Returns the reason why QEMU cannot run in this jail; undefined when it can. */
  async #probe(identity: Identity | undefined, signal: AbortSignal): Promise<Error | undefined> {
    const limits = { fileBytesMax: 0 };
    const [program, ...args] = this.command({ identity, limits, descriptors: 3 }, ['--version']);
    try {
      await runTool(program, args, signal);
      return undefined;
    } catch (error) {
      if (!isFault(error)) throw error;
      const remedy =
        'allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1, and on Ubuntu kernel.apparmor_restrict_unprivileged_userns=0), or run the engine as root';
      return fault(
        'DRIVER_UNAVAILABLE',
        { reason: `the jail cannot be built: ${error.message}`, remedy },
        { cause: error },
      );
    }
  }
}

/**
 * Returns the paths to bind for these files. A folder with many of them is bound as a whole, because bubblewrap reads all
 * mounts of the host for each bind. That is the folder of the system's shared libraries, which holds no secrets.
 */
export function bindsOf(files: readonly string[]): string[] {
  const folders = Map.groupBy(new Set(files), dirname);
  return [...folders].flatMap(([folder, inside]) => (inside.length >= WHOLE_FOLDER_MIN ? [folder] : inside));
}

async function factsOf(kind: JailKind, { identity, limited }: JailOptions): Promise<JailFacts> {
  const cgroupNamespace = await access('/proc/self/ns/cgroup').then(
    () => true,
    () => false,
  );
  const facts: readonly (readonly [string, boolean])[] = [
    ['own uid', identity !== undefined],
    ['user namespace', kind === 'unprivileged'],
    ['mount namespace', true],
    ['pid namespace', true],
    ['network namespace', true],
    ['ipc namespace', true],
    ['uts namespace', true],
    ['cgroup namespace', cgroupNamespace],
    ['no capabilities', true],
    ['no new privileges', true],
    ['seccomp', true],
    [EMPTY_KEYRING, true],
    ['resource limits', true],
    ['memory and CPU limits', limited],
  ];
  const names = (present: boolean): string[] => facts.filter(([, has]) => has === present).map(([name]) => name);
  return { parts: names(true), missing: names(false) };
}
