import { follow } from '../../api/event-stream.js';
import { resizeProcess, startProcess, writeProcess } from '../../api/v1.js';
import { fill, h } from '../../kit/dom.js';
import { bytesOf } from '../../kit/output-log.js';
import { badge, button, panel, problem } from '../../kit/parts.js';
import { makeTerminal } from '../../kit/terminal.js';

/**
 * @import { Scope } from '../../kit/scope.js'
 * @import { Terminal } from '../../kit/terminal.js'
 */

/** Shell of the image: a login shell, as a console gives one. */
const SHELL = 'if command -v bash >/dev/null; then exec bash -l; fi; exec sh -l';
/** Bytes of one message of input; a paste may be longer. */
const INPUT_BYTES_MAX = 64 * 1024;

/** Panel with a terminal on a process of an instance. */
export class TerminalPanel {
  #place = h('div', { class: 'terminal-place' });
  #state = h('span', { role: 'status' });
  #uuid;
  #scope;
  /** Ends what follows the process shown now. */
  #shown = new AbortController();

  /**
   * @param {string} uuid of the instance
   * @param {Scope} scope
   */
  constructor(uuid, scope) {
    this.#uuid = uuid;
    this.#scope = scope;
    scope.signal.addEventListener('abort', () => this.#shown.abort(), { once: true });
    this.element = panel(['Terminal ', this.#state], [this.#place], {
      actions: [button('New shell', () => void this.newShell(), { kind: 'primary', icon: 'play' })],
      class: 'terminal-panel',
    });
  }

  /** Starts a shell and shows it. */
  async newShell() {
    await this.#show(async (terminal) => {
      const { spid } = await startProcess(this.#uuid, {
        command: SHELL,
        shell: true,
        tty: terminal.size,
        stdin: { value: '', close: false },
      });
      return spid;
    });
  }

  /**
   * Shows a process that runs or has ended: its output so far, and what follows.
   * @param {number} spid
   */
  async attach(spid) {
    await this.#show(async () => spid);
  }

  /** @param {(terminal: Terminal) => Promise<number>} start returns the process to show */
  async #show(start) {
    this.#shown.abort();
    const shown = (this.#shown = new AbortController());
    /** @type {number | undefined} */
    let spid;
    const input = new Input((bytes) => this.#send(spid, bytes));
    const terminal = await makeTerminal({
      label: 'Terminal',
      onInput: (bytes) => input.add(bytes),
      onResize: (columns, rows) => void this.#resize(spid, { columns, rows }),
    });
    fill(this.#place, terminal.element);
    shown.signal.addEventListener('abort', () => terminal.dispose(), { once: true });
    terminal.open();
    terminal.focus();
    try {
      spid = await start(terminal);
      input.begin();
      await this.#follow(terminal, spid, shown.signal);
    } catch (error) {
      if (shown.signal.aborted) return;
      terminal.close();
      fill(this.#state, problem(error));
    }
  }

  /**
   * @param {Terminal} terminal
   * @param {number} spid
   * @param {AbortSignal} signal
   */
  async #follow(terminal, spid, signal) {
    const say = (/** @type {'live' | 'waiting'} */ state) =>
      fill(this.#state, badge(state === 'live' ? 'live' : 'reconnecting…', state === 'live' ? 'busy' : 'warn'));
    const shown = { stdout: 0, stderr: 0 };
    for await (const { type, data } of follow(this.#uuid, signal, say, spid)) {
      if (type === 'stdout' || type === 'stderr') {
        const bytes = bytesOf(data);
        shown[type] += bytes.length;
        terminal.write(bytes);
      }
      if (type === 'truncated') {
        const { stream, bytes_dropped: dropped, resumes_at: resumesAt = shown[stream] + dropped } = data;
        if (resumesAt > shown[stream]) terminal.say(`${resumesAt - shown[stream]} bytes are not kept`);
        shown[stream] = Math.max(shown[stream], resumesAt);
      }
      if (type === 'exit') {
        terminal.say(data.signal > 0 ? `ended by signal ${data.signal}` : `exit ${data.code}`);
        break;
      }
    }
    terminal.close();
    fill(this.#state, badge('ended'));
  }

  /**
   * @param {number | undefined} spid
   * @param {Uint8Array<ArrayBuffer>} bytes
   */
  async #send(spid, bytes) {
    if (spid === undefined) return;
    const value = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''));
    await writeProcess(this.#uuid, spid, { value, encoding: 'base64', close: false }, this.#scope.signal);
  }

  /**
   * @param {number | undefined} spid
   * @param {{ columns: number, rows: number }} size
   */
  async #resize(spid, size) {
    // A process that has ended has no terminal any more.
    if (spid !== undefined) await resizeProcess(this.#uuid, spid, size).catch(() => undefined);
  }
}

/** Input of a terminal, sent in order: what is typed while a message is on its way goes with the next one. */
class Input {
  /** @type {Uint8Array<ArrayBuffer>[]} */
  #waiting = [];
  #sending = true;
  #send;

  /** @param {(bytes: Uint8Array<ArrayBuffer>) => Promise<void>} send */
  constructor(send) {
    this.#send = send;
  }

  /** Sends what was typed so far, and from now on what is typed. */
  begin() {
    this.#sending = false;
    void this.#next();
  }

  /** @param {Uint8Array<ArrayBuffer>} bytes */
  add(bytes) {
    for (let at = 0; at < bytes.length; at += INPUT_BYTES_MAX)
      this.#waiting.push(bytes.subarray(at, at + INPUT_BYTES_MAX));
    void this.#next();
  }

  async #next() {
    if (this.#sending) return;
    this.#sending = true;
    try {
      while (this.#waiting.length > 0) await this.#send(this.#take());
    } catch {
      // The process takes no input any more; its end is shown where its output is.
      this.#waiting = [];
    } finally {
      this.#sending = false;
    }
  }

  /** Returns the next message: as many pieces as fit into one. */
  #take() {
    let bytes = 0;
    const fits = this.#waiting.findIndex((piece) => (bytes += piece.length) > INPUT_BYTES_MAX);
    const taken = this.#waiting.splice(0, fits === -1 ? this.#waiting.length : Math.max(1, fits));
    return new Uint8Array(taken.flatMap((piece) => [...piece]));
  }
}
