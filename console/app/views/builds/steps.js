import { bytesOf, OutputLog } from '../../kit/output-log.js';

/**
 * @import { OperationEvent } from '../../../../src/contract/event.ts'
 */

/**
 * One step of a build. `image` is the one after it; while it runs or where it has failed, the one before it.
 * @typedef {object} Step
 * @property {number} number
 * @property {string} stage
 * @property {string} text
 * @property {'running' | 'done' | 'cached' | 'failed'} state
 * @property {string | undefined} image
 * @property {string} took
 * @property {OutputLog} output
 */

const BASE = /^#(\d+) \[(.+?) FROM\] (.*) → ([0-9a-f-]{36})$/u;
const START = /^#(\d+) \[(.+?) \d+\/\d+\] (.*)$/u;
const END = /^#(\d+) (?:(CACHED|DONE)(?: (\S+))? → ([0-9a-f-]{36})|FAILED)$/u;

/** Steps of a build, as the events of its operation tell them. */
export class Steps {
  /** @type {Map<number, Step>} */
  #steps = new Map();
  /** Current image of each stage. @type {Map<string, string>} */
  #images = new Map();
  #decoder = new TextDecoder();
  #rest = '';
  /** Lines that belong to no step. @type {string[]} */
  notes = [];

  /** @returns {Step[]} in the order in which they began */
  get all() {
    return [...this.#steps.values()];
  }

  /**
   * @param {OperationEvent} event
   * @returns {Step[]} the steps that it has changed
   */
  take({ type, data, spid = 0 }) {
    if (type !== 'stdout' && type !== 'stderr') return [];
    if (spid === 0) return this.#lines(bytesOf(data));
    const step = this.#steps.get(spid);
    step?.output.add(type, bytesOf(data));
    return step ? [step] : [];
  }

  /** @param {Uint8Array<ArrayBuffer>} bytes */
  #lines(bytes) {
    const lines = (this.#rest + this.#decoder.decode(bytes, { stream: true })).split('\n');
    this.#rest = lines.pop() ?? '';
    return lines.flatMap((line) => this.#line(line) ?? []);
  }

  /**
   * @param {string} line
   * @returns {Step | undefined}
   */
  #line(line) {
    const [, base, name = '', from = '', root] = BASE.exec(line) ?? [];
    if (root) {
      this.#images.set(name, root);
      return this.#start({ number: Number(base), stage: name, text: from, state: 'done', image: root });
    }
    const [, first, stage = '', text = ''] = START.exec(line) ?? [];
    if (first)
      return this.#start({ number: Number(first), stage, text, state: 'running', image: this.#images.get(stage) });
    const [, last, outcome, took = '', image] = END.exec(line) ?? [];
    const step = this.#steps.get(Number(last));
    if (!step) {
      this.notes.push(line);
      return undefined;
    }
    step.state = 'failed';
    if (image) {
      this.#images.set(step.stage, image);
      step.state = outcome === 'CACHED' ? 'cached' : 'done';
      step.image = image;
      step.took = took;
    }
    return step;
  }

  /** @param {Omit<Step, 'took' | 'output'>} facts */
  #start(facts) {
    const step = { ...facts, took: '', output: new OutputLog() };
    this.#steps.set(step.number, step);
    return step;
  }
}
