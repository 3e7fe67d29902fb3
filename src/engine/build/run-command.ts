import type { ImageConfig } from '../../contract/image.ts';
import { limits } from '../../contract/limits.ts';
import { dockerfileFault } from '../../dockerfile/faults.ts';
import { contentOf, heredocWord } from '../../dockerfile/heredoc.ts';
import type { RunInstruction } from '../../dockerfile/instruction.ts';
import { wordsOf } from './metadata.ts';

/** Words of a command, and what it reads from its standard input. */
export interface RunCommand {
  readonly argv: readonly string[];
  readonly stdin: string | undefined;
}

/**
 * Returns the command of a RUN. A here-document alone is a script: for the shell, or for the interpreter that its `#!` line
 * names. Others are left to the shell. Faults: DOCKERFILE_INVALID.
 */
export function commandOfRun({ command, heredocs, line }: RunInstruction, config: ImageConfig): RunCommand {
  const [only] = heredocs;
  if (command.form === 'exec' || only === undefined)
    return checked({ argv: wordsOf(command, config), stdin: undefined }, line);
  const { expression } = command;
  if (heredocs.length === 1 && isMark(expression) && heredocWord(expression, heredocs, line) !== undefined) {
    const script = contentOf(only);
    if (script.startsWith('#!')) return checked({ argv: interpreterOf(script, line), stdin: script }, line);
    return checked({ argv: wordsOf({ form: 'shell', expression: script }, config), stdin: undefined }, line);
  }
  const whole = [expression, ...heredocs.map(({ content, name }) => `${content}${name}`)].join('\n');
  return checked({ argv: wordsOf({ form: 'shell', expression: whole }, config), stdin: undefined }, line);
}

/** Reports whether text is the mark of a here-document and nothing else. */
function isMark(text: string): boolean {
  return /^\d*<<-?\s*(?:[^\s"']|"[^"]*"|'[^']*')+$/u.test(text);
}

/** Returns the words that run a script from standard input: the kernel passes what follows the interpreter as one word. */
function interpreterOf(script: string, line: number): string[] {
  const [, program = '', argument = ''] = /^#![ \t]*(\S+)[ \t]*([^\n]*)/u.exec(script) ?? [];
  if (program === '') throw dockerfileFault(line, 'the script names no interpreter after its #!');
  return [program, ...(argument.trim() === '' ? [] : [argument.trim()]), '/dev/stdin'];
}

function checked(command: RunCommand, line: number): RunCommand {
  const tooLong = command.argv.some((word) => Buffer.byteLength(word) > limits.argumentBytesMax);
  if (tooLong) throw dockerfileFault(line, `the command is longer than ${limits.argumentBytesMax} bytes`);
  if (command.argv.length === 0) throw dockerfileFault(line, 'RUN needs a command');
  if (Buffer.byteLength(command.stdin ?? '') > limits.stdinBytesMax) {
    throw dockerfileFault(line, `the script is longer than ${limits.stdinBytesMax} bytes`);
  }
  return command;
}
