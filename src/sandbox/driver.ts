import type { Duplex } from 'node:stream';
import type { LayerFile } from '../erofs/layer-file.ts';

export type NetworkPolicy =
  | { readonly mode: 'none' }
  | { readonly mode: 'public' }
  /** Domains (`*.example.org` for subdomains), addresses and CIDR blocks; nothing else is reachable. */
  | { readonly mode: 'allowlist'; readonly allow: readonly string[] };

/** Sandboxes that runs can get. */
export type SandboxKind = 'microvm' | 'gvisor';
/** `auto`: the best that works on this host. */
export type SandboxChoice = SandboxKind | 'auto';

export interface BootSpec {
  /** Bottom first. */
  readonly layers: readonly LayerFile[];
  readonly cpus: number;
  readonly memoryMib: number;
  /** Size of the writable disk: what the run may write. */
  readonly diskBytes: number;
  readonly hostname: string;
  readonly network: NetworkPolicy;
  /** Default: that of the engine. Drivers of a single sandbox ignore it. */
  readonly sandbox?: SandboxChoice;
}

export interface Command {
  /** Program and arguments; the program is looked up in the `PATH` of `env`. */
  readonly argv: readonly string[];
  /** Complete environment. */
  readonly env: Readonly<Record<string, string>>;
  /** Absolute; created when missing. */
  readonly cwd: string;
  readonly uid: number;
  readonly gid: number;
  /** User to look up in the passwd and group of the guest, instead of the ids above. */
  readonly account?: Account;
  /** True when the process gets input; otherwise it reads end of file at once. */
  readonly stdin: boolean;
  readonly tty?: { readonly columns: number; readonly rows: number };
}

/** A user, by name or number, whom the guest looks up when a command starts. */
export interface Account {
  /**
   * `USER` or `USER:GROUP` as in the configuration of an image, each a name or a number. A number may be one that the guest
   * does not know; without a group it then has the group 0.
   */
  readonly user: string;
  /** True when the user's home directory is to be the `HOME` of the command. */
  readonly home: boolean;
}

/** A user as the guest found it. */
export interface GuestUser {
  readonly uid: number;
  readonly gid: number;
  /** Home directory; `/` for a user of no row in the guest's passwd. */
  readonly home: string;
}

/** Resource use of a finished process and the children it waited for; names and units of `EventResources`. */
export interface ResourceUsage {
  readonly userTimeUs: number;
  readonly sysTimeUs: number;
  readonly maxRssKb: number;
  readonly minorFaults: number;
  readonly majorFaults: number;
  readonly voluntarySwitches: number;
  readonly involuntarySwitches: number;
  readonly blockInputOps: number;
  readonly blockOutputOps: number;
}

/** End of a process. `notFound` and `notExecutable` become exit codes 127 and 126 at once, as in a shell. */
export interface Outcome {
  /** 0–255, or −1 when a signal ended the process. */
  readonly exitCode: number;
  /** Signal number, or −1. */
  readonly signal: number;
  readonly coreDump: boolean;
  /** The guest kernel killed a process of this group for lack of memory. */
  readonly outOfMemory: boolean;
  /** The run's disk was full when the process ended. */
  readonly diskFull?: boolean;
  readonly durationMs: number;
  readonly usage: ResourceUsage;
}

export interface OutputChunk {
  readonly stream: 'stdout' | 'stderr';
  readonly bytes: Uint8Array;
}

/** A process in the guest. Its output must be read: the guest waits when the reader does not keep up. */
export interface Process {
  /** Process id inside the guest. */
  readonly pid: number;
  /** The user, when the command asked for an account. */
  readonly identity?: GuestUser | undefined;
  /** Ends when the process has ended and its output is drained, even if others still hold the pipe. Iterate once. */
  readonly output: AsyncIterable<OutputChunk>;
  /** Rejects with GUEST_LOST when the guest goes away first. */
  readonly outcome: Promise<Outcome>;
  /** Resolves when the guest has taken the bytes. They are discarded when the process has closed its end. */
  write(bytes: Uint8Array): Promise<void>;
  closeStdin(): Promise<void>;
  /** Sends a signal, by number, to the whole process group. Does nothing for a finished process. */
  kill(signal: number): Promise<void>;
  resize(columns: number, rows: number): Promise<void>;
}

/** Parts of the jail around a sandbox that the host provides, and those that it does not. */
export interface JailFacts {
  readonly parts: readonly string[];
  readonly missing: readonly string[];
}

/** Facts that every result states, so that weaker isolation is never silent. */
export interface InstanceFacts {
  readonly sandbox: SandboxKind | 'none';
  readonly accelerator: 'kvm' | 'emulated' | 'none';
  readonly jail: JailFacts;
  readonly kernel: string;
  readonly bootId: string;
  /** Milliseconds per step of the start, for example restore, mount. */
  readonly stepsMs: Readonly<Record<string, number>>;
}

export interface NetworkUse {
  readonly rxBytes: number;
  readonly rxPackets: number;
  readonly txBytes: number;
  readonly txPackets: number;
  /** Number of frames that the policy refused. */
  readonly dropped: number;
  /** Refused destinations, most frequent first, at most 20, for example `tcp 10.0.0.1:22`. */
  readonly refused: readonly string[];
}

/** The files of an instance at one moment. */
export interface Snapshot {
  /**
   * Everything written since the image, or since the last snapshot that was accepted, in the format of `Instance.changes`.
   * Applied to the image with all accepted snapshots, it gives what the programs see at that moment. Iterated once, which
   * takes the snapshot; the programs go on when it ends, also when it is left early or aborted.
   *
   * Throws SNAPSHOT_FAILED, after which the instance goes on, or what `Instance.start` rejects with.
   */
  readonly changes: AsyncIterable<Uint8Array>;
  /** Milliseconds for which writes (on gVisor the programs) waited. Known once `changes` has ended. */
  readonly frozenMs: number | undefined;
  /**
   * Says that the changes, read to their end, are stored for good: later ones build on them. At most once, and before the
   * next snapshot. A snapshot that is not accepted is as if it had not been taken.
   */
  accept(): void;
}

/**
 * One sandbox over an image. `SandboxDriver.start` resolves only once the guest answers, so a caller that has an Instance may
 * use it at once. Ready → lost or disposed, and never back. Disposing twice is allowed.
 */
export interface Instance extends AsyncDisposable {
  readonly facts: InstanceFacts;
  /**
   * Rejects with GUEST_LOST, GUEST_PROTOCOL, LAYER_BYTES_EXCEEDED or, before anything runs, USER_UNKNOWN; a program that
   * cannot be started is an Outcome.
   */
  start(command: Command, signal: AbortSignal): Promise<Process>;
  /**
   * Ends every user process, then streams what the guest wrote as a tar of an overlay's upper directory (devices 0/0 for
   * removed names, PAX xattrs, `trusted.overlay.opaque`). Yields nothing when nothing was changed. The bytes are hostile.
   * Once per instance. After snapshots: what was written since the last one that was accepted.
   */
  changes(signal: AbortSignal): AsyncIterable<Uint8Array>;
  /**
   * Connects to a TCP port at which a program of the guest listens, also on its loopback interface only, and also when the run
   * has no network. Each direction ends on its own; destroying the stream early resets the connection. An unread stream makes
   * the program wait. Rejects with PORT_UNREACHABLE, CONNECTION_LIMIT or GUEST_LOST; the stream fails with them later.
   */
  connect(port: number, signal: AbortSignal): Promise<Duplex>;
  /**
   * Takes a snapshot of the files while the programs go on: what is written to them waits until it is read. One at a time;
   * a second one begins after the first.
   */
  snapshot(signal: AbortSignal): Snapshot;
  networkUse(): NetworkUse;
  /** Resolves when the guest ends without a request to do so; never rejects. */
  readonly lost: Promise<Error>;
}

/** Request to release what a driver keeps for later starts, such as templates. Times are in milliseconds since 1970. */
export interface DriverCollection {
  /** Time of last use before which memory is released. */
  readonly memoryUnusedSinceMs: number;
  /** Time of last use before which files are removed, except those of the usual guest. */
  readonly filesUnusedSinceMs: number;
  /** Only report. */
  readonly dryRun: boolean;
}

export interface MemoryAndDisk {
  readonly memoryBytes: number;
  readonly diskBytes: number;
}

export interface DriverGarbage {
  /** Templates that were released, from memory or from disk. */
  readonly templates: number;
  readonly freed: MemoryAndDisk;
  /** Memory and disk space that stay in use. */
  readonly used: MemoryAndDisk;
}

export interface DriverCheck {
  readonly name: string;
  readonly status: 'ok' | 'warning' | 'failed';
  readonly detail: string;
  readonly remedy?: string;
}

/**
 * Turns images into running instances.
 *
 * The driver owns every process, socket and temporary file it makes, and disposing it ends them all. What a killed
 * engine left behind is ended by the next `open` of the driver on the same state folder. A driver is finished when
 * `test/conformance/driver.ts` passes.
 */
export interface SandboxDriver extends AsyncDisposable {
  readonly name: string;
  /** Prepares starts in the background (makes the template). A failure is not fatal, because the next start tries again. */
  warm(): Promise<void>;
  /**
   * Starts a sandbox over the layers of an image. Rejects with DRIVER_UNAVAILABLE, GUEST_BOOT_TIMEOUT or the signal's reason, and
   * then leaves nothing running.
   */
  start(spec: BootSpec, signal: AbortSignal): Promise<Instance>;
  /** Returns the sandbox of runs that are started now with this choice. Faults: those of `start`. */
  kindOf(asked?: SandboxChoice): Promise<InstanceFacts['sandbox']>;
  /** Releases what is kept for later starts and not in use now; the next start loads or makes it again. */
  collect(request: DriverCollection): Promise<DriverGarbage>;
  /** Returns what this host offers and lacks. Never rejects. */
  inspect(signal: AbortSignal): Promise<DriverCheck[]>;
}
