import { streamRepr } from '../../../src/contract/stream.ts';
import type { EventData, OperationEvent, OperationEventType } from '../../../src/contract/event.ts';
import type { ExecSpec, InstanceResult } from '../../../src/contract/run.ts';

/** Environment of a scripted program. */
export interface ProgramContext {
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | null>>;
  out(text: string | Uint8Array): void;
  err(text: string | Uint8Array): void;
  /** Returns the next piece of input; undefined at its end. */
  read(): Promise<Buffer | undefined>;
  /** Resolves with the name of the first signal. */
  readonly signalled: Promise<string>;
  /** Writes a file to the result image. */
  write(path: string, content: string): void;
}

/** Returns the exit code. */
export type Program = (context: ProgramContext) => Promise<number> | number;

const SIGNALS: Readonly<Record<string, number>> = { HUP: 1, INT: 2, KILL: 9, TERM: 15 };

/** Programs that every scripted guest has. */
export const PROGRAMS: Readonly<Record<string, Program>> = {
  true: () => 0,
  false: () => 1,
  echo: ({ args, out }) => (out(`${args.join(' ')}\n`), 0),
  warn: ({ args, err }) => (err(`${args.join(' ')}\n`), 0),
  exit: ({ args }) => Number(args[0] ?? 0),
  bytes: ({ out }) => (out(Uint8Array.from({ length: 256 }, (_, byte) => byte)), 0),
  touch: ({ args, write }) => (args.forEach((path) => write(path, '')), 0),
  sleep: async ({ signalled }) => {
    await signalled;
    return -1;
  },
  cat: async ({ read, out }) => {
    for (let chunk = await read(); chunk !== undefined; chunk = await read()) out(chunk);
    return 0;
  },
};

/** A log with followers. */
export class ScriptedLog {
  readonly events: OperationEvent[] = [];
  #changed = Promise.withResolvers<void>();

  add<Type extends OperationEventType>(type: Type, data: EventData<Type>, spid?: number): void {
    const event = {
      id: this.events.length,
      ts: new Date().toISOString(),
      type,
      data,
      ...(spid !== undefined && { spid }),
    };
    this.events.push(event as unknown as OperationEvent);
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  async changed(signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    const aborted = Promise.withResolvers<never>();
    const abort = (): void => aborted.reject(signal?.reason);
    signal?.addEventListener('abort', abort, { once: true });
    try {
      await Promise.race([this.#changed.promise, aborted.promise]);
    } finally {
      signal?.removeEventListener('abort', abort);
    }
  }
}

/** A process of a scripted guest. */
export class ScriptedProcess {
  readonly #spid: number;
  readonly #log: ScriptedLog;
  readonly #input: Buffer[] = [];
  readonly #signalled = Promise.withResolvers<string>();
  #inputChanged = Promise.withResolvers<void>();
  #inputEnded = false;
  #result: InstanceResult;
  readonly #output: Record<'stdout' | 'stderr', Buffer[]> = { stdout: [], stderr: [] };
  /** Command line, once it was started. */
  command = '';
  readonly sizes: { readonly columns: number; readonly rows: number }[] = [];

  constructor(spid: number, log: ScriptedLog) {
    this.#spid = spid;
    this.#log = log;
    this.#result = { state: state(-1, -1), ...this.#streams() };
  }

  get running(): boolean {
    const { exit_code, signal } = this.#result.state ?? {};
    return exit_code === -1 && signal === -1;
  }

  get result(): InstanceResult {
    return { ...this.#result, ...this.#streams() };
  }

  async run(
    program: Program | undefined,
    spec: ExecSpec,
    write: (path: string, content: string) => void,
  ): Promise<void> {
    const args = spec.args ?? [];
    this.command = [spec.command, ...args].join(' ');
    this.#log.add('spawn', spawnData(this.#spid, spec), this.#spid);
    const context: ProgramContext = {
      args,
      env: spec.env ?? {},
      out: (text) => this.#emit('stdout', text),
      err: (text) => this.#emit('stderr', text),
      read: () => this.#read(),
      signalled: this.#signalled.promise,
      write,
    };
    if (program === undefined) context.err(`${spec.command}: not found\n`);
    const code = program === undefined ? 127 : await program(context);
    const signal = code === -1 ? (SIGNALS[await this.#signalled.promise] ?? 15) : -1;
    this.#result = { ...this.#result, state: state(code, signal) };
    this.#log.add('exit', exitData(this.#spid, code, signal), this.#spid);
  }

  kill(name: string): void {
    this.#signalled.resolve(name);
  }

  feed(bytes: Buffer, close: boolean): void {
    if (bytes.byteLength > 0) this.#input.push(bytes);
    this.#inputEnded ||= close;
    this.#inputChanged.resolve();
    this.#inputChanged = Promise.withResolvers();
  }

  #streams(): { stdout: ReturnType<typeof streamRepr>; stderr: ReturnType<typeof streamRepr> } {
    const { stdout, stderr } = this.#output;
    return { stdout: streamRepr(Buffer.concat(stdout)), stderr: streamRepr(Buffer.concat(stderr)) };
  }

  #emit(stream: 'stdout' | 'stderr', text: string | Uint8Array): void {
    const bytes = Buffer.from(text as Uint8Array);
    this.#output[stream].push(bytes);
    this.#log.add(stream, streamRepr(bytes), this.#spid);
  }

  async #read(): Promise<Buffer | undefined> {
    while (this.#input.length === 0 && !this.#inputEnded) {
      const killed = await Promise.race([this.#inputChanged.promise, this.#signalled.promise]);
      if (killed !== undefined) return undefined;
    }
    return this.#input.shift();
  }
}

function state(exit_code: number, signal: number): NonNullable<InstanceResult['state']> {
  return { exit_code, signal, pid: 2, core_dump: false, continued: false, stopped: false, timed_out: false };
}

function spawnData(spid: number, spec: ExecSpec): EventData<'spawn'> {
  const { command, args = [], shell = false, cwd = '/', uid = 0, gid = 0 } = spec;
  return { pid: spid + 1, command, args, shell, cwd, uid, gid, timeout: 60, truncate_at: 1_048_576 };
}

function exitData(spid: number, code: number, signal: number): EventData<'exit'> {
  const zero = Object.fromEntries(RESOURCES.map((name) => [name, 0])) as EventData<'exit'>['resources'];
  return { pid: spid + 1, code, signal, timed_out: false, duration_ms: 1, resources: zero };
}

const RESOURCES = [
  'user_time_us',
  'sys_time_us',
  'max_rss_kb',
  'shared_memory',
  'unshared_memory',
  'swaps',
  'minor_faults',
  'major_faults',
  'voluntary_ctx_switches',
  'involuntary_ctx_switches',
  'block_input_ops',
  'block_output_ops',
  'ipc_msgs_sent',
  'ipc_msgs_received',
  'signals_received',
] as const;
