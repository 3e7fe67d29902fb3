import { Tree } from '../../layers/tree.ts';
import { limits } from '../../contract/limits.ts';
import type { LayerFile } from '../../erofs/layer-file.ts';
import type { ReaderPool } from '../../erofs/reader-pool.ts';
import type { BootSpec, Command, Instance, OutputChunk, Process, SandboxDriver } from '../../sandbox/driver.ts';
import type { Layer } from '../../store/layers.ts';
import type { ProjectStore } from '../../store/project-store.ts';
import { untilAborted } from '../../std/abort.ts';
import { commandUser } from '../../images/inspect/users.ts';
import { type CommitPlace, commitChanges } from '../run/commit.ts';
import { Deadline } from '../run/deadline.ts';
import { exitEvent, killedOutcome } from '../run/exit-event.ts';
import { ProcessLog } from '../run/process-log.ts';
import { MASK, maskEnv } from '../run/secrets.ts';
import { type SshMount, withAgents } from './ssh/agent.ts';

const SIGKILL = 9;
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** A layer takes a little more space than the same files on the guest's disk. */
const LAYER_OVERHEAD_BYTES = 16 * 1024 * 1024;

/** Parts of the engine that a RUN needs. */
export interface RunStepPlace {
  readonly store: ProjectStore;
  readonly driver: SandboxDriver;
  readonly readers: ReaderPool;
  /** Operation in whose log the process is recorded. */
  readonly operation: string;
}

/** Command of a RUN, ready to be started. */
export interface RunStep {
  /** Number of the process in the log. */
  readonly spid: number;
  readonly argv: readonly string[];
  /** Environment without PATH and HOME, which follow from the user. */
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  /** User in the form of USER: `user`, `user:group` or numbers. */
  readonly user: string;
  readonly timeoutSeconds: number;
  readonly boot: Omit<BootSpec, 'layers'>;
  /** SSH agents of the owner that the command may ask. */
  readonly agents: readonly SshMount[];
  /** Names of variables whose values are secrets. */
  readonly hidden: ReadonlySet<string>;
}

/** Layers of a RUN, bottom first. */
export interface StepLayers {
  readonly image: readonly LayerFile[];
  /** Layers of mounts over those of the image. */
  readonly mounts: readonly LayerFile[];
  /** Layer of secrets over these: it is not read again, and closed with the run. */
  readonly secrets: readonly LayerFile[];
  /** Chooses what is kept of the changes; undefined for all. */
  readonly keep: CommitPlace['keep'];
}

/** End of a RUN. */
export interface RunStepEnd {
  /** Reason of a failure; undefined when the command succeeded. */
  readonly failure: { readonly reason: string; readonly output: string } | undefined;
  /** Changes; undefined where there are none. */
  readonly layer: Layer | undefined;
}

/**
 * Runs a command in a new instance over the layers of an image, and stores its changes if it succeeds. The instance has
 * ended when this returns. Faults are those of the driver and of the commit, and ARGUMENT_INVALID for a user whom the image
 * does not know.
 */
export async function executeStep(
  place: RunStepPlace,
  step: RunStep,
  { image, mounts, secrets, keep }: StepLayers,
  signal: AbortSignal,
): Promise<RunStepEnd> {
  const command = await commandOf(place, step, image);
  const lower = [...image, ...mounts];
  const instance = await place.driver.start({ ...step.boot, layers: [...lower, ...secrets] }, signal);
  try {
    const tail = new OutputTail();
    const action = (): Promise<string | undefined> => run(place, step, { instance, command, tail }, signal);
    const reason = await untilAborted(
      Promise.race([withAgents(instance, step.agents, signal, action), lost(instance)]),
      signal,
    );
    if (reason !== undefined) return { failure: { reason, output: tail.text }, layer: undefined };
    const { store, readers } = place;
    const bytesMax = step.boot.diskBytes + LAYER_OVERHEAD_BYTES;
    return {
      failure: undefined,
      layer: await commitChanges(
        instance.changes(signal),
        { store, readers, lower, bytesMax, ...(keep !== undefined && { keep }) },
        signal,
      ),
    };
  } finally {
    await instance[Symbol.asyncDispose]();
  }
}

async function commandOf({ readers }: RunStepPlace, step: RunStep, lower: readonly LayerFile[]): Promise<Command> {
  await using tree = await Tree.open(lower, readers);
  const user = await commandUser(tree, step.user);
  const home = user.home ?? (user.uid === 0 ? '/root' : '/');
  return {
    argv: step.argv,
    env: { PATH, HOME: home, ...step.env },
    cwd: step.cwd,
    uid: user.uid,
    gid: user.gid,
    // Looked up once more in the guest, for the user's other groups.
    ...(user.uid !== 0 && { account: { user: step.user, home: false } }),
    stdin: false,
  };
}

/** A started instance and what runs in it. */
interface Running {
  readonly instance: Instance;
  readonly command: Command;
  readonly tail: OutputTail;
}

/** Runs the command to its end. Returns the reason if it failed. */
async function run(
  { store, operation }: RunStepPlace,
  { spid, timeoutSeconds, hidden }: RunStep,
  { instance, command, tail }: Running,
  signal: AbortSignal,
): Promise<string | undefined> {
  const startedMs = performance.now();
  const process = await instance.start(command, signal);
  const [program = '', ...args] = command.argv;
  store.events.append(operation, spid, 'spawn', {
    pid: process.pid,
    command: program,
    args,
    shell: false,
    cwd: command.cwd,
    uid: command.uid,
    gid: command.gid,
    timeout: timeoutSeconds,
    truncate_at: limits.outputBytesKept,
    env: { ...maskEnv(command.env), ...Object.fromEntries([...hidden].map((name) => [name, MASK])) },
  });
  const log = new ProcessLog(store.events, operation, spid, { shownMax: limits.outputBytesKept });
  using deadline = new Deadline(timeoutSeconds, () => process.kill(SIGKILL));
  const outcome = await Promise.race([
    drain(process, (chunk) => {
      log.write(chunk);
      tail.add(chunk.bytes);
    }),
    deadline.abandoned.then(() => killedOutcome(performance.now() - startedMs)),
  ]);
  log.close();
  store.events.append(operation, spid, 'exit', exitEvent(process.pid, outcome, deadline.passed));
  if (deadline.passed) return `it took longer than ${timeoutSeconds} seconds`;
  if (outcome.outOfMemory) return 'its memory was not enough';
  if (outcome.signal > 0) return `signal ${outcome.signal} ended it`;
  if (outcome.exitCode === 0) return undefined;
  return outcome.diskFull === true
    ? `exit code ${outcome.exitCode}, its disk was full`
    : `exit code ${outcome.exitCode}`;
}

async function drain(process: Process, take: (chunk: OutputChunk) => void): Promise<Awaited<Process['outcome']>> {
  for await (const chunk of process.output) take(chunk);
  return await process.outcome;
}

/** Rejects when the guest ends unexpectedly. */
async function lost(instance: Instance): Promise<never> {
  throw await instance.lost;
}

/** Last bytes of the output of a command, for the message of its failure. */
class OutputTail {
  #bytes = Buffer.alloc(0);

  add(bytes: Uint8Array): void {
    const kept = bytes.subarray(Math.max(0, bytes.byteLength - limits.buildOutputShownBytesMax));
    this.#bytes = Buffer.concat([this.#bytes, kept]).subarray(-limits.buildOutputShownBytesMax);
  }

  get text(): string {
    return this.#bytes.toString('utf8').trim();
  }
}
