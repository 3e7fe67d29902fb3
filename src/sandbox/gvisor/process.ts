import type { Duplex } from 'node:stream';
import { JailedProcess } from '../jailed-process.ts';
import type { JailFacts } from '../driver.ts';
import { liveFacts } from '../host/live-facts.ts';
import { SANDBOX_FD, runtimeSpec, sentryFlags } from './bundle.ts';
import type { SandboxJail, SandboxJailSpec } from './jail.ts';

export interface SandboxProcessSpec extends Omit<SandboxJailSpec, 'descriptors'> {
  readonly jail: SandboxJail;
  /** Number in the jail → open descriptor of this process, which may be closed once the constructor returns. */
  readonly descriptors: ReadonlyMap<number, number>;
}

/**
 * One gVisor sandbox in its jail, and the host's ends of its sockets.
 *
 * It cannot outlive this process: bubblewrap kills it when its parent dies, and everything in it lives in the PID namespace of
 * its first process. The process tree is bubblewrap → helper (pid 1 inside) → runsc → sandbox process → stubs.
 */
export class SandboxProcess implements AsyncDisposable {
  readonly agent: Duplex;
  readonly frames: Duplex;
  /** Resolves with the reason when it is gone; never rejects. */
  readonly ended: Promise<string>;
  readonly #configured: JailFacts;
  readonly #process: JailedProcess;

  constructor(spec: SandboxProcessSpec) {
    const { jail, descriptors, shape } = spec;
    this.#configured = jail.facts;
    const { agent, frames, info, spec: specFd, flags } = SANDBOX_FD;
    this.#process = new JailedProcess({
      command: (count) => jail.command({ ...spec, descriptors: count }),
      sockets: [agent, frames, info, specFd, flags],
      info,
      descriptors,
    });
    this.agent = this.#process.socket(agent);
    this.frames = this.#process.socket(frames);
    this.#process.socket(specFd).end(JSON.stringify(runtimeSpec(shape)));
    this.#process.socket(flags).end(sentryFlags(shape));
    this.ended = this.#watch();
  }

  /** Returns the facts about the jail that the kernel reports once it runs; others stay as configured. */
  async facts(): Promise<JailFacts> {
    await this.#process.begun;
    const { jailPid: pid, report } = this.#process;
    if (pid === undefined) return this.#configured;
    return liveFacts(this.#configured, { pid, emptyKeyring: report.includes('session keyring: empty') });
  }

  async #watch(): Promise<string> {
    const { code, signal, error } = await this.#process.exited;
    await this.#process.stderrRead;
    const how = error?.message ?? signal ?? `status ${code}`;
    const said = this.#process.stderr.lastLines(2);
    return [`the sandbox ended: ${how}`, ...(said === '' ? [] : [said])].join('; ');
  }

  /** Ends everything in the jail at once and returns when it is gone. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process.end(this.ended);
  }
}
