import { readFile } from 'node:fs/promises';
import { posix } from 'node:path';
import type { BuildRequest } from '../../../contract/build.ts';
import { fault } from '../../../contract/errors.ts';
import { limits } from '../../../contract/limits.ts';
import { dockerfileFault } from '../../../dockerfile/faults.ts';
import type { RunMount } from '../../../dockerfile/mount.ts';
import type { SshMount } from './agent.ts';

/** Names and modes where a mount states none (Dockerfile reference, RUN --mount=type=ssh). */
const ID = 'default';
const MODE = 0o600;
const TARGET = '/run/buildkit/ssh_agent.';

/** Path of the relay in the guest while the command runs. */
export const RELAY_PATH = '/run/contree-ssh-relay';

/** The `type=ssh` mounts of one RUN: their sockets, and the agents behind those that were given. */
export class SshMounts {
  readonly #given: BuildRequest['ssh'];
  readonly #program: string | undefined;
  readonly #agents: SshMount[] = [];
  #count = 0;
  #first: string | undefined;

  /** `program`: file of the guest agent on the host. */
  constructor(given: BuildRequest['ssh'], program: string | undefined) {
    this.#given = given;
    this.#program = program;
  }

  /** Agents that are given. */
  get agents(): readonly SshMount[] {
    return this.#agents;
  }

  /** Variables of the command, unless it has them already: as in BuildKit the socket of the first mount, given or not. */
  get env(): Readonly<Record<string, string>> {
    return this.#first === undefined ? {} : { SSH_AUTH_SOCK: this.#first };
  }

  /** Adds a mount and returns the path of its socket. Faults: DOCKERFILE_INVALID. */
  add(mount: RunMount, cwd: string, line: number): string {
    const { id = ID, target: named, required, mode = MODE, uid = 0, gid = 0 } = mount;
    const target = posix.resolve('/', cwd, named ?? `${TARGET}${this.#count}`);
    this.#count += 1;
    if (this.#count > limits.sshMountsMax)
      throw dockerfileFault(line, `RUN has more than ${limits.sshMountsMax} agents`);
    this.#first ??= target;
    const agent = this.#given?.find((one) => one.id === id);
    if (agent !== undefined) this.#agents.push({ socket: agent.socket, program: RELAY_PATH, target, mode, uid, gid });
    else if (required)
      throw dockerfileFault(line, `the SSH agent ${JSON.stringify(id)} is not given: build with --ssh ${id}`);
    return target;
  }

  /** Reports whether there is an agent for a mount. */
  isGiven({ id = ID }: RunMount): boolean {
    return this.#given?.some((one) => one.id === id) === true;
  }

  /** Reads the relay, if there is an agent. Faults: DRIVER_UNAVAILABLE. */
  async relay(): Promise<Uint8Array | undefined> {
    if (this.#agents.length === 0) return undefined;
    try {
      if (this.#program === undefined) throw new Error('this engine has no guest agent');
      return await readFile(this.#program);
    } catch (cause) {
      const remedy = 'build the guest with guest/build, or name its folder in the setting guest-dir';
      throw fault('DRIVER_UNAVAILABLE', { reason: 'the guest agent is missing', remedy }, { cause });
    }
  }
}
