import type { ImageConfig } from '../../contract/image.ts';
import { limits } from '../../contract/limits.ts';
import { dockerfileFault } from '../../dockerfile/faults.ts';
import { contentOf, heredocWord } from '../../dockerfile/heredoc.ts';
import type { RunInstruction } from '../../dockerfile/instruction.ts';
import { wordsOf } from './metadata.ts';

/** Path of the script of a here-document while it runs. */
export const SCRIPT_PATH = '/run/contree-script';

/** Words of a command, and the script that it runs. */
export interface RunCommand {
  readonly argv: readonly string[];
  /** Content of the file at `SCRIPT_PATH`; undefined for other commands. */
  readonly script: string | undefined;
}

/**
 * Returns the command of a RUN. A here-document alone is a script: for the shell, or a program of its own if it begins with
 * `#!`, as in BuildKit. Others are left to the shell. Faults: DOCKERFILE_INVALID.
 */
export function commandOfRun({ command, heredocs, line }: RunInstruction, config: ImageConfig): RunCommand {
  const [only] = heredocs;
  if (command.form === 'exec' || only === undefined)
    return checked({ argv: wordsOf(command, config), script: undefined }, line);
  const { expression } = command;
  if (heredocs.length === 1 && isMark(expression) && heredocWord(expression, heredocs, line) !== undefined) {
    const script = contentOf(only);
    if (script.startsWith('#!')) return checked({ argv: [SCRIPT_PATH], script }, line);
    return checked({ argv: wordsOf({ form: 'shell', expression: script }, config), script: undefined }, line);
  }
  const whole = [expression, ...heredocs.map(({ content, name }) => `${content}${name}`)].join('\n');
  return checked({ argv: wordsOf({ form: 'shell', expression: whole }, config), script: undefined }, line);
}

/** Reports whether text is the mark of a here-document and nothing else. */
function isMark(text: string): boolean {
  return /^\d*<<-?\s*(?:[^\s"']|"[^"]*"|'[^']*')+$/u.test(text);
}

function checked(command: RunCommand, line: number): RunCommand {
  const tooLong = command.argv.some((word) => Buffer.byteLength(word) > limits.argumentBytesMax);
  if (tooLong) throw dockerfileFault(line, `the command is longer than ${limits.argumentBytesMax} bytes`);
  if (command.argv.length === 0) throw dockerfileFault(line, 'RUN needs a command');
  return command;
}
