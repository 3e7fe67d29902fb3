import { randomUUID } from 'node:crypto';
import { posix } from 'node:path';
import type { Duplex } from 'node:stream';
import { fault } from '../../../src/contract/errors.ts';
import type { BootSpec, Command, GuestUser } from '../../../src/sandbox/driver.ts';
import { FakeFiles } from './files.ts';
import { FakePorts, type Serve } from './ports.ts';
import { FakeProcess, type ProcessControl } from './process.ts';
import { complaint, PROGRAMS, type ProgramContext } from './programs.ts';
import { expand, parseScript, type SimpleCommand } from './shell.ts';

const SIGNALS: Readonly<Record<string, number>> = { HUP: 1, INT: 2, QUIT: 3, KILL: 9, TERM: 15 };
const SHELLS = new Set(['sh', 'bash']);
const NOT_EXECUTABLE = 126;
const NOT_FOUND = 127;

type Write = (text: string | Uint8Array) => Promise<void>;

/** Outcome of a simple command that ends its script. */
interface Step {
  readonly code: number;
  readonly exit: boolean;
}

/** One fake guest: its files and the processes in it. */
export class FakeGuest {
  readonly bootId: string = randomUUID();
  readonly files: FakeFiles;
  readonly #spec: BootSpec;
  readonly #passwd: string;
  readonly #ports: FakePorts;
  readonly #lost = Promise.withResolvers<Error>();
  /** All processes so far: those left in the background end with the guest. */
  readonly #processes = new Set<FakeProcess>();
  #gone: Error | undefined;
  #nextPid = 2;

  /** `passwd`: the image's, which the fake cannot read. */
  constructor(spec: BootSpec, servers?: ReadonlyMap<number, Serve>, passwd = '') {
    this.#spec = spec;
    this.#passwd = passwd;
    this.#ports = new FakePorts(servers);
    this.files = new FakeFiles(spec.diskBytes);
  }

  get lost(): Promise<Error> {
    return this.#lost.promise;
  }

  /** The reason why it is lost, once it is. */
  get gone(): Error | undefined {
    return this.#gone;
  }

  start(asked: Command): FakeProcess {
    if (this.#gone !== undefined) throw this.#gone;
    const identity = asked.account && this.#identify(asked.account.user);
    const home = asked.account?.home === true && identity !== undefined ? { HOME: identity.home } : {};
    const command = { ...asked, ...identity, env: { ...asked.env, ...home } };
    const process: FakeProcess = new FakeProcess(this.#nextPid++, command, (control) =>
      this.#main(command, control, () => process),
    );
    process.identity = identity;
    this.#processes.add(process);
    return process;
  }

  connect(port: number): Duplex {
    if (this.#gone !== undefined) throw this.#gone;
    return this.#ports.connect(port);
  }

  #identify(user: string): GuestUser {
    const [name = '', group] = user.split(':');
    const rows = this.#passwd.split('\n').map((line) => line.split(':'));
    const row = rows.find(([own, , uid, gid]) => (own === name || uid === name) && /^\d+$/u.test(gid ?? ''));
    if (row === undefined && !/^\d+$/u.test(name)) throw fault('USER_UNKNOWN', { what: 'user', user });
    if (group !== undefined && !/^\d+$/u.test(group)) throw fault('USER_UNKNOWN', { what: 'group', user });
    return { uid: Number(row?.[2] ?? name), gid: Number(group ?? row?.[3] ?? 0), home: row?.[5] ?? '/' };
  }

  /** Ends all processes, as the end of the main one does. */
  async end(): Promise<void> {
    const all = [...this.#processes];
    this.#ports.close(fault('GUEST_LOST', { reason: 'the guest has ended' }));
    for (const process of all) await process.kill(SIGNALS['KILL'] ?? 9);
    await Promise.allSettled(all.map(({ outcome }) => outcome));
  }

  crash(reason: string): void {
    const error = fault('GUEST_LOST', { reason });
    this.#gone = error;
    this.#ports.close(error);
    for (const process of this.#processes) process.lose(error);
    this.#lost.resolve(error);
  }

  async #main(command: Command, control: ProcessControl, self: () => FakeProcess): Promise<number> {
    this.files.makeDirectory(posix.resolve(command.cwd));
    const [program = '', ...args] = command.argv;
    return this.#program(
      program,
      args,
      { command, control, self },
      {
        out: (bytes) => control.write('stdout', Buffer.from(bytes)),
        err: (bytes) => control.write('stderr', Buffer.from(bytes)),
      },
    );
  }

  async #script(script: string, scope: Scope): Promise<number> {
    const commands = parseScript(script);
    if (commands === undefined) {
      await scope.control.write('stderr', Buffer.from('sh: 1: Syntax error\n'));
      return 2;
    }
    let last: Step = { code: 0, exit: false };
    for (const command of commands) {
      scope.control.signal.throwIfAborted();
      if (command.when === 'success' && last.code !== 0) continue;
      if (command.when === 'failure' && last.code === 0) continue;
      const step = this.#simple(command, scope, last.code);
      // A background command holds the pipes but not the script.
      if (command.background) step.catch(() => {});
      else last = await step;
      if (last.exit) break;
    }
    return last.code;
  }

  async #simple(simple: SimpleCommand, scope: Scope, lastCode: number): Promise<Step> {
    const { command, control, self } = scope;
    const lookup = (name: string): string => {
      if (name === '?') return String(lastCode);
      return name === '$' ? String(self().pid) : (command.env[name] ?? '');
    };
    const [name = '', ...args] = simple.words.map((word) => expand(word, lookup));
    if (name === 'exit') return { code: Number(args[0] ?? lastCode) & 0xff, exit: true };
    if (name === 'trap') {
      for (const signal of args.slice(1)) control.ignore(SIGNALS[signal] ?? 0);
      return { code: 0, exit: false };
    }
    if (name === 'kill') {
      const signal = args.length > 1 ? (SIGNALS[(args[0] ?? '').replace(/^-/u, '')] ?? 15) : 15;
      await self().kill(signal);
      return { code: 0, exit: false };
    }
    let io: Io;
    try {
      io = this.#redirect(simple, scope, lookup);
    } catch (error) {
      const line = complaint('sh: 1', error);
      if (line === undefined) throw error;
      await control.write('stderr', Buffer.from(line));
      return { code: 2, exit: false };
    }
    return {
      code: await this.#program(name === 'exec' ? (args.shift() ?? 'true') : name, args, scope, io),
      exit: false,
    };
  }

  /** Destination of output: the process's own streams or files. */
  #redirect({ redirects }: SimpleCommand, { command, control }: Scope, lookup: (name: string) => string): Io {
    let out: Write = (bytes) => control.write('stdout', Buffer.from(bytes));
    let err: Write = (bytes) => control.write('stderr', Buffer.from(bytes));
    for (const { operator, target } of redirects) {
      const path = posix.resolve(command.cwd, expand(target, lookup));
      if (operator === '2>&1') err = out;
      else if (operator === '>&2' || operator === '1>&2') out = err;
      else if (operator === '2>' || operator === '2>>') err = this.#into(path, operator === '2>>');
      else if (operator === '>' || operator === '>>') out = this.#into(path, operator === '>>');
    }
    return { out, err };
  }

  #into(path: string, append: boolean): Write {
    if (path === '/dev/null') return async () => {};
    this.files.write(path, Buffer.alloc(0), append);
    return async (bytes) => this.files.write(path, Buffer.from(bytes), true);
  }

  async #program(program: string, args: readonly string[], scope: Scope, io: Io): Promise<number> {
    const name = posix.basename(program);
    if (SHELLS.has(name))
      return this.#script(args[0] === '-c' ? (args[1] ?? '') : await text(scope.control.stdin), scope);
    const run = program.includes('/') && !/^\/(?:usr\/)?s?bin\//u.test(program) ? undefined : PROGRAMS[name];
    if (run === undefined && program.includes('/') && this.files.exists(program)) {
      await io.err(`sh: 1: ${program}: Permission denied\n`);
      return NOT_EXECUTABLE;
    }
    if (run === undefined) {
      await io.err(`sh: 1: ${program}: not found\n`);
      return NOT_FOUND;
    }
    try {
      return await run(this.#context(args, scope, io));
    } catch (error) {
      const line = complaint(name, error);
      if (line === undefined) throw error;
      await io.err(line);
      return 1;
    }
  }

  #context(args: readonly string[], { command, control }: Scope, { out, err }: Io): ProgramContext {
    return {
      args,
      env: command.env,
      cwd: command.cwd,
      uid: command.uid,
      gid: command.gid,
      hostname: this.#spec.hostname,
      bootId: this.bootId,
      files: this.files,
      ports: this.#ports,
      out,
      err,
      stdin: control.stdin,
      signal: control.signal,
      crash: (reason) => this.crash(reason),
    };
  }
}

interface Scope {
  readonly command: Command;
  readonly control: ProcessControl;
  readonly self: () => FakeProcess;
}

interface Io {
  readonly out: Write;
  readonly err: Write;
}

async function text(source: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}
