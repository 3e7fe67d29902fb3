import { limits } from '../contract/limits.ts';
import { dockerfileFault } from './faults.ts';
import type { ArgInstruction, Dockerfile, Instruction, Stage } from './instruction.ts';
import { parseInstruction } from './parse-instruction.ts';
import { Flags } from './flags.ts';
import { type RawInstruction, splitDockerfile, splitTrigger } from './lines.ts';
import { type Escape, plainWords } from './words.ts';

const STAGE_NAME = /^[a-z][a-z0-9-_.]*$/u;

/** Parses a Dockerfile. Faults: DOCKERFILE_INVALID with the line. */
export function parseDockerfile(text: string): Dockerfile {
  const { escape, instructions } = splitDockerfile(text);
  const globalArgs: ArgInstruction[] = [];
  const stages: (Stage & { readonly instructions: Instruction[] })[] = [];
  for (const raw of instructions) {
    if (raw.keyword === 'FROM') {
      stages.push(parseFrom(raw, stages.length));
      if (stages.length > limits.dockerfileStagesMax) {
        throw dockerfileFault(raw.line, `there are more than ${limits.dockerfileStagesMax} stages`);
      }
      continue;
    }
    const instruction = parseInstruction(raw, escape);
    const stage = stages.at(-1);
    if (stage !== undefined) stage.instructions.push(instruction);
    else if (instruction.kind === 'ARG') globalArgs.push(instruction);
    else throw dockerfileFault(raw.line, `${raw.keyword} stands before the first FROM`);
  }
  if (stages.length === 0) throw dockerfileFault(1, 'the file has no FROM');
  return { escape, globalArgs, stages };
}

/** Parses an ONBUILD trigger of an image for a build at `line`. Faults: DOCKERFILE_INVALID. */
export function parseTrigger(text: string, line: number): Instruction {
  const escape: Escape = '\\';
  const instruction = parseInstruction(splitTrigger(text, escape, line), escape);
  if (instruction.kind === 'ONBUILD') throw dockerfileFault(line, 'the base has an ONBUILD trigger with another in it');
  return instruction;
}

function parseFrom(raw: RawInstruction, index: number): Stage & { readonly instructions: Instruction[] } {
  const { line, text, rest } = raw;
  const flags = new Flags(raw);
  const [base = '', as = '', name, ...more] = plainWords(rest);
  const named = name !== undefined && as.toLowerCase() === 'as';
  if (base === '' || more.length > 0 || (as !== '' && !named)) {
    throw dockerfileFault(line, 'FROM takes an image, or an image followed by AS and a name');
  }
  const lower = name?.toLowerCase();
  if (lower !== undefined && !STAGE_NAME.test(lower)) {
    throw dockerfileFault(
      line,
      `${JSON.stringify(name)} cannot name a stage: it begins with a letter, then a-z 0-9 - _ .`,
    );
  }
  if (lower === 'scratch') throw dockerfileFault(line, 'a stage cannot be named scratch');
  return { line, text, index, name: lower, base, platform: flags.text('platform'), instructions: [] };
}
