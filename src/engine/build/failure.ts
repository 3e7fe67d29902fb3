import { type ERROR_CLASSES, fault, isFault } from '../../contract/errors.ts';
import type { Instruction } from '../../dockerfile/instruction.ts';

const INSTRUCTION_CHARACTERS_SHOWN = 200;
/** Faults of these classes say something about the step; others say that it could not be tried. */
const OF_THE_STEP: ReadonlySet<keyof typeof ERROR_CLASSES> = new Set(['invalid', 'missing', 'corrupt', 'unsupported']);

/** Command of a RUN that did not succeed. */
export class StepFailed extends Error {
  override readonly name = 'StepFailed';
  /** Last bytes of its output. */
  readonly output: string;

  constructor(reason: string, output: string) {
    super(reason);
    this.output = output;
  }
}

/** Returns the error of a build whose step failed: BUILD_FAILED with the line, or the error itself. */
export function buildFailure(error: unknown, { line, text }: Instruction, image: string): unknown {
  const instruction = text.split('\n')[0]?.slice(0, INSTRUCTION_CHARACTERS_SHOWN) ?? '';
  const common = { line, instruction, image };
  if (error instanceof StepFailed) {
    return fault('BUILD_FAILED', { ...common, reason: error.message, output: error.output }, { cause: error });
  }
  if (!isFault(error)) return error;
  const ofStep = OF_THE_STEP.has(error.class) || error.httpStatus === 413;
  if (!ofStep) return error;
  const reason = String(error.code === 'DOCKERFILE_INVALID' ? error.detail['reason'] : error.message);
  return fault('BUILD_FAILED', { ...common, reason }, { cause: error });
}
