import { stat } from 'node:fs/promises';
import { connect } from 'node:net';
import type { BuildRequest } from '../../../contract/build.ts';
import { fault } from '../../../contract/errors.ts';
import { pause, untilAborted } from '../../../std/abort.ts';
import type { Instance, Process } from '../../../sandbox/driver.ts';
import { StepFailed } from '../failure.ts';
import { AGENT_FAILURE, framed, MessageReader, permittedAnswer } from './messages.ts';

/** Time between two requests: a guest can ask 200 times a second, and not keep the owner's agent busy. */
const REQUEST_PAUSE_MS = 5;
const REASON_BYTES_MAX = 500;
const SIGKILL = 9;

/** An agent of the owner as a command sees it. */
export interface SshMount {
  /** Socket of the agent on the host. */
  readonly socket: string;
  /** Path of the program in the guest that relays, and of the socket there. */
  readonly program: string;
  readonly target: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/**
 * An SSH agent of the host, lent to the commands of an instance until it is disposed. The guest has no way to its socket: a
 * process there, which may be hostile like all others, sends single requests, and those that may be passed on are answered
 * one after the other.
 */
export class SshRelay implements AsyncDisposable {
  readonly #process: Process;
  readonly #socket: string;
  readonly #closing = new AbortController();
  readonly #listening = Promise.withResolvers<void>();
  #complaint = '';

  private constructor(process: Process, socket: string) {
    this.#process = process;
    this.#socket = socket;
  }

  /**
   * Starts the relay in the guest. Its socket is there when this returns. Throws StepFailed when the guest cannot make it, and
   * what `Instance.start` throws.
   */
  static async open(instance: Pick<Instance, 'start'>, mount: SshMount, signal: AbortSignal): Promise<SshRelay> {
    const { program, target, mode, uid, gid } = mount;
    const argv = [program, 'ssh-relay', target, mode.toString(8), String(uid), String(gid)];
    const command = { argv, env: {}, cwd: '/', uid: 0, gid: 0, stdin: true };
    await using opened = new AsyncDisposableStack();
    const relay = opened.use(new SshRelay(await instance.start(command, signal), mount.socket));
    await untilAborted(relay.#begin(), signal);
    opened.move();
    return relay;
  }

  /** Serves in the background, and resolves once the guest listens. */
  #begin(): Promise<void> {
    const { promise, reject } = this.#listening;
    void this.#serve()
      .then(() => reject(this.#refusal()), reject)
      .finally(() => {
        void this.#process.kill(SIGKILL);
      });
    return promise;
  }

  /** Ends at once: nothing is answered after this. It does not wait for the guest, which ends with its instance. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    await this.#process.kill(SIGKILL);
  }

  /** Answers requests until the guest's process ends, breaks the protocol, or the relay is closed. */
  async #serve(): Promise<void> {
    const reader = new MessageReader();
    for await (const { stream, bytes } of this.#process.output) {
      if (stream === 'stderr') this.#complain(bytes);
      else for (const message of reader.take(bytes)) await this.#take(message);
    }
  }

  async #take(message: Buffer): Promise<void> {
    const { signal } = this.#closing;
    signal.throwIfAborted();
    // The first message is empty and only says that the socket is there.
    if (message.byteLength === 0) return this.#listening.resolve();
    await this.#process.write(framed(await this.#answer(message, signal)));
    await pause(REQUEST_PAUSE_MS, signal);
  }

  async #answer(request: Buffer, signal: AbortSignal): Promise<Uint8Array> {
    const expected = permittedAnswer(request);
    if (expected === undefined) return AGENT_FAILURE;
    try {
      const answer = await askSocket(this.#socket, request, signal);
      return answer[0] === expected ? answer : AGENT_FAILURE;
    } catch {
      signal.throwIfAborted();
      // What is wrong with the owner's agent is not for the guest to know; ssh says that the agent refused.
      return AGENT_FAILURE;
    }
  }

  #complain(bytes: Uint8Array): void {
    this.#complaint = (this.#complaint + Buffer.from(bytes).toString('utf8')).slice(0, REASON_BYTES_MAX);
  }

  #refusal(): Error {
    return new StepFailed('the socket of the SSH agent cannot be made', this.#complaint.trim());
  }
}

/** Lends agents of the owner for the time of an action. */
export async function withAgents<Result>(
  instance: Pick<Instance, 'start'>,
  mounts: readonly SshMount[],
  signal: AbortSignal,
  action: () => Promise<Result>,
): Promise<Result> {
  await using relays = new AsyncDisposableStack();
  for (const mount of mounts) relays.use(await SshRelay.open(instance, mount, signal));
  return await action();
}

/**
 * Checks the agents of a request: only the owner may name sockets of the engine's machine, and there is an agent at each.
 * Faults: ARGUMENT_INVALID.
 */
export async function checkAgents({ ssh = [] }: BuildRequest, isOwner: boolean): Promise<void> {
  if (ssh.length > 0 && !isOwner) {
    const reason = 'ssh: agents can be lent to the engine of this machine only, by its owner; use a secret elsewhere';
    throw fault('ARGUMENT_INVALID', { reason });
  }
  for (const { id, socket } of ssh) {
    const info = await stat(socket).catch(() => undefined);
    if (info?.isSocket() === true) continue;
    const hint = 'start one with "ssh-agent" and add keys with "ssh-add"';
    throw fault('ARGUMENT_INVALID', { reason: `ssh ${JSON.stringify(id)}: there is no agent at its socket; ${hint}` });
  }
}

/** Passes one request to the agent at a socket, over a connection of its own. */
async function askSocket(path: string, request: Buffer, signal: AbortSignal): Promise<Buffer> {
  const connection = connect({ path, signal });
  try {
    connection.write(framed(request));
    const reader = new MessageReader();
    for await (const piece of connection) {
      for (const answer of reader.take(piece as Buffer)) return answer;
    }
    throw new Error('the agent gave no answer');
  } finally {
    connection.destroy();
  }
}
