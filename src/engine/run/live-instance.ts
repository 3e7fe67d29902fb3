import { fault } from '../../contract/errors.ts';
import { limits } from '../../contract/limits.ts';
import type { ClosableStreamRepr } from '../../contract/run.ts';
import { streamBytes } from '../../contract/stream.ts';
import type { Command, Instance, Outcome, Process } from '../../sandbox/driver.ts';
import { defined } from '../../std/assert.ts';
import { settlesWithin } from '../../std/abort.ts';
import type { EventStore } from '../../store/events.ts';
import { exitEvent, killedOutcome } from './exit-event.ts';
import { ProcessLog, type AddedOutput } from './process-log.ts';
import { Deadline } from './deadline.ts';
import { maskEnv } from './secrets.ts';

const SIGKILL = 9;

/** Process to start, and the log entry for its start. */
export interface Launch {
  readonly command: Command;
  readonly shell: boolean;
  /** Seconds; 0 for none. */
  readonly timeoutSeconds: number;
  /** Maximum number of bytes of each stream in results. */
  readonly shownMax: number;
  readonly stdin: ClosableStreamRepr | undefined;
}

/** End of a process; `timedOut` is true if the engine killed it after its timeout. */
export interface ProcessExit {
  readonly pid: number;
  readonly outcome: Outcome;
  readonly timedOut: boolean;
}

interface LiveProcess {
  readonly process: Process;
  readonly facts: ProcessFacts;
  readonly ended: Promise<ProcessExit>;
  /** True while its standard input is open for writing. */
  takesInput: boolean;
  /** Number of times that something was written to it. */
  inputs: number;
}

/** Parts of a running instance that its processes need. */
export interface LiveInstanceParts {
  readonly events: EventStore;
  readonly operation: string;
  readonly instance: Instance;
  /** Number of the first process. */
  readonly firstSpid: number;
}

/** A process as the description of an instance names it. */
export interface ProcessFacts {
  readonly spid: number;
  readonly pid: number;
  /** Cut at `limits.commandCharactersListed`. */
  readonly command: string;
  readonly startedAtMs: number;
  /** Absent while it runs. */
  readonly exitCode?: number;
}

/** Follower of what happens in an instance. */
export interface LiveObserver {
  /** Called on every use: a process was started or has ended, input, a signal. */
  readonly used: () => void;
  /** Called with output that was added to the log, all of which is. */
  readonly wrote: (output: AddedOutput) => void;
  /** Called when a process has ended, after its last event. */
  readonly ended: (facts: ProcessFacts) => void;
}

/**
 * Processes of one running instance: the main one of a run has spid 1, others are numbered from 2. Records their events
 * in the operation's log. Ends with its owner, who disposes the instance. Only a bounded number of ended processes is
 * remembered, because an instance may stay for days.
 */
export class LiveInstance {
  readonly #events: EventStore;
  readonly #operation: string;
  readonly #instance: Instance;
  readonly #signal: AbortSignal;
  /** Processes that have not ended. */
  readonly #processes = new Map<number, LiveProcess>();
  readonly #starting = new Set<Promise<Process>>();
  /** The last ones that have ended, newest last. */
  #recent: readonly ProcessFacts[] = [];
  readonly #firstSpid: number;
  #observer: LiveObserver | undefined;
  #main: Command | undefined;
  #nextSpid: number;
  /** Processes that run or are being started. */
  #running = 0;
  #closing = false;
  #disturbed = false;

  constructor({ events, operation, instance, firstSpid }: LiveInstanceParts, signal: AbortSignal) {
    this.#events = events;
    this.#operation = operation;
    this.#instance = instance;
    this.#firstSpid = firstSpid;
    this.#nextSpid = firstSpid;
    this.#signal = signal;
  }

  /** Command whose user, environment and directory other commands take over: the main one, which was started first. */
  get main(): Command {
    return defined(this.#main, 'an instance is given to clients once its main process runs or its defaults are set');
  }

  /** Processes that run, and the last ones that have ended, by number. */
  get processes(): readonly ProcessFacts[] {
    const all = [...this.#recent, ...[...this.#processes.values()].map(({ facts }) => facts)];
    return all.toSorted((one, other) => one.spid - other.spid);
  }

  /** Number of inputs of one process that are recorded: in an instance that stays a terminal may be used for days. */
  get #inputsLogged(): number {
    return this.#observer === undefined ? Infinity : limits.instanceInputsLogged;
  }

  /** Number of processes that run. */
  get running(): number {
    return this.#running;
  }

  /** Sets the command that others take over, for an instance without a main process, and who follows its use. */
  adopt(launch: Launch, observer: LiveObserver): void {
    this.#main = launch.command;
    this.#observer = observer;
  }

  /** True once clients have done anything to the instance, so that its result depends on more than the request. */
  get disturbed(): boolean {
    return this.#disturbed;
  }

  /**
   * Starts a process and returns once it runs in the guest; `ended` settles when all of its output has been read too.
   */
  async start(launch: Launch): Promise<{ readonly spid: number; readonly ended: Promise<ProcessExit> }> {
    if (this.#closing) throw fault('INSTANCE_NOT_RUNNING', { operation: this.#operation, status: 'ending' });
    if (this.#running >= limits.subprocessesMax) throw fault('OPERATION_LIMIT', { limit: limits.subprocessesMax });
    const spid = this.#nextSpid;
    this.#nextSpid += 1;
    this.#disturbed ||= spid !== this.#firstSpid;
    this.#running += 1;
    this.#observer?.used();
    const process = await this.#spawn(launch);
    const command = resolved(launch.command, process);
    this.#main ??= command;
    this.#logSpawn(spid, process.pid, { ...launch, command });
    const ended = this.#follow(spid, process, launch);
    const facts = { spid, pid: process.pid, command: shownCommand(launch), startedAtMs: Date.now() };
    const live = { process, facts, ended, takesInput: launch.stdin?.close === false, inputs: 0 };
    this.#processes.set(spid, live);
    ended.then(
      ({ outcome }) => this.#over({ ...facts, exitCode: outcome.exitCode }),
      () => this.#over(facts),
    );
    // Not awaited, because a program may never read its input. The loss of the guest shows in `ended`.
    this.#feed(spid, live, launch.stdin).catch(() => {});
    return { spid, ended };
  }

  /** Sends a signal to a process. Rejects with SUBPROCESS_NOT_FOUND, also when it has ended. */
  async kill(spid: number, signal: number): Promise<void> {
    const { process } = this.#get(spid);
    this.#disturbed = true;
    this.#observer?.used();
    await process.kill(signal);
  }

  /** Writes to standard input. Rejects with SUBPROCESS_NOT_FOUND like `kill`, and with STDIN_CLOSED. */
  async write(spid: number, input: ClosableStreamRepr): Promise<void> {
    const live = this.#get(spid);
    this.#disturbed = true;
    if (!live.takesInput) throw fault('STDIN_CLOSED', { operation: this.#operation, spid });
    live.takesInput = input.close === false;
    this.#observer?.used();
    await this.#feed(spid, live, input);
  }

  async resize(spid: number, size: { readonly columns: number; readonly rows: number }): Promise<void> {
    const { process } = this.#get(spid);
    this.#disturbed = true;
    this.#observer?.used();
    await process.resize(size.columns, size.rows);
  }

  /**
   * Ends all other processes and waits for their ends, at most for the grace period. Nothing can be started afterwards.
   */
  async close(): Promise<void> {
    this.#closing = true;
    await settlesWithin(Promise.allSettled(this.#starting), limits.killGraceMs);
    const all = [...this.#processes.values()];
    await Promise.allSettled(all.map(({ process }) => process.kill(SIGKILL)));
    const ends = Promise.allSettled(all.map(({ ended }) => ended));
    await settlesWithin(ends, limits.killGraceMs);
  }

  #get(spid: number): LiveProcess {
    const live = this.#processes.get(spid);
    if (live === undefined) {
      const ended = spid >= this.#firstSpid && spid < this.#nextSpid;
      throw fault('SUBPROCESS_NOT_FOUND', { operation: this.#operation, spid, ended });
    }
    return live;
  }

  async #spawn({ command }: Launch): Promise<Process> {
    const starting = this.#instance.start(command, this.#signal);
    this.#starting.add(starting);
    try {
      const process = await starting;
      // Closed meanwhile, so that nobody else ends it.
      if (this.#closing) await process.kill(SIGKILL);
      return process;
    } catch (error) {
      this.#running -= 1;
      throw error;
    } finally {
      this.#starting.delete(starting);
    }
  }

  #over(facts: ProcessFacts): void {
    this.#processes.delete(facts.spid);
    this.#recent = [...this.#recent, facts].slice(-limits.instanceProcessesListed);
    this.#observer?.used();
    this.#observer?.ended(facts);
  }

  #logSpawn(spid: number, pid: number, { command, shell, timeoutSeconds, shownMax }: Launch): void {
    const [program = '', ...args] = command.argv;
    this.#events.append(this.#operation, spid, 'spawn', {
      pid,
      command: program,
      args,
      shell,
      cwd: command.cwd,
      uid: command.uid,
      gid: command.gid,
      timeout: timeoutSeconds,
      truncate_at: Math.min(shownMax, limits.outputBytesKept),
      env: maskEnv(command.env),
    });
  }

  async #feed(spid: number, live: LiveProcess, input: ClosableStreamRepr | undefined): Promise<void> {
    if (input === undefined) return;
    const { process } = live;
    const bytes = streamBytes(input);
    if (bytes.byteLength > 0) {
      live.inputs += 1;
      // Input may be a password, so the log records only that there was some.
      if (live.inputs <= this.#inputsLogged)
        this.#events.append(this.#operation, spid, 'stdin', { value: '', encoding: 'ascii', truncated: true });
      await process.write(bytes);
    }
    if (input.close !== false) await process.closeStdin();
  }

  async #follow(spid: number, process: Process, launch: Launch): Promise<ProcessExit> {
    const startedMs = performance.now();
    const log = new ProcessLog(this.#events, this.#operation, spid, {
      shownMax: launch.shownMax,
      wrote: this.#observer?.wrote,
    });
    const deadline = new Deadline(launch.timeoutSeconds, () => process.kill(SIGKILL));
    try {
      const outcome = await Promise.race([
        drain(process, log),
        deadline.abandoned.then(() => killedOutcome(performance.now() - startedMs)),
      ]);
      log.close();
      this.#events.append(this.#operation, spid, 'exit', exitEvent(process.pid, outcome, deadline.passed));
      return { pid: process.pid, outcome, timedOut: deadline.passed };
    } finally {
      this.#running -= 1;
      deadline[Symbol.dispose]();
    }
  }
}

/** Returns a command with the user that the guest found. */
function resolved(command: Command, { identity }: Process): Command {
  const { account, ...others } = command;
  if (account === undefined || identity === undefined) return command;
  const { uid, gid, home } = identity;
  return { ...others, uid, gid, env: account.home ? { ...command.env, HOME: home } : command.env };
}

/** Returns the command line of a process as lists show it. */
function shownCommand({ command, shell }: Launch): string {
  const words = shell ? command.argv.slice(2) : command.argv;
  return words.join(' ').slice(0, limits.commandCharactersListed);
}

async function drain(process: Process, log: ProcessLog): Promise<Outcome> {
  for await (const chunk of process.output) log.write(chunk);
  return process.outcome;
}
