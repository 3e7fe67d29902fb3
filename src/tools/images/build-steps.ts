/** A step of a build as its log tells it. */
export interface BuildStep {
  /** Number of the step in the log, which is that of its process, too. */
  readonly number: number;
  /** Name of its stage, or `stage N`. */
  readonly stage: string;
  /** Instruction; of the first step of a stage the image that it begins with. */
  readonly text: string;
  readonly state: 'running' | 'done' | 'cached' | 'failed';
  /** Image after the step; of one that is running or has failed, the image before it. */
  readonly image: string | undefined;
}

const UUID = '[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}';
const BASE = new RegExp(String.raw`^#(\d+) \[(.+?) FROM\] (.*) → (${UUID})$`, 'u');
const START = /^#(\d+) \[(.+?) \d+\/\d+\] (.*)$/u;
const END = new RegExp(String.raw`^#(\d+) (?:(CACHED|DONE) .*?→ (${UUID})|FAILED)$`, 'u');

/**
 * Returns the steps of a build in the order in which they began, from the lines of process 0 in the log of its operation.
 * Other lines are passed over.
 */
export function buildSteps(lines: Iterable<string>): BuildStep[] {
  const steps = new Map<number, BuildStep>();
  /** Current image of each stage. */
  const images = new Map<string, string>();
  const put = (step: BuildStep): void => void steps.set(step.number, step);
  for (const line of lines) {
    const [, base, name = '', from = '', root] = BASE.exec(line) ?? [];
    const [, first, stage = '', text = ''] = base === undefined ? (START.exec(line) ?? []) : [];
    const [, last, outcome, image] = END.exec(line) ?? [];
    const ended = steps.get(Number(last));
    if (root !== undefined) {
      images.set(name, root);
      put({ number: Number(base), stage: name, text: from, state: 'done', image: root });
    } else if (first !== undefined) {
      put({ number: Number(first), stage, text, state: 'running', image: images.get(stage) });
    } else if (ended !== undefined && image !== undefined) {
      images.set(ended.stage, image);
      put({ ...ended, state: outcome === 'CACHED' ? 'cached' : 'done', image });
    } else if (ended !== undefined) put({ ...ended, state: 'failed' });
  }
  return [...steps.values()];
}
