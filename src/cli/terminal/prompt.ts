import { once } from 'node:events';
import { fault } from '../../contract/errors.ts';
import type { Cli } from '../cli.ts';

const CTRL_C = '\u0003';
const END_OF_INPUT = '\u0004';
const BACKSPACES = new Set(['\u007f', '\b']);

interface Question {
  readonly question: string;
  readonly instead: string;
  readonly echoes: boolean;
}

/** Prompts on the terminal and echoes the answer. `instead` names the options that need no terminal. */
export function askLine(cli: Cli, question: string, instead: string): Promise<string> {
  return ask(cli, { question, instead, echoes: true });
}

/** Prompts on the terminal without echoing the answer. */
export function askSecret(cli: Cli, question: string, instead: string): Promise<string> {
  return ask(cli, { question, instead, echoes: false });
}

async function ask(cli: Cli, { question, instead, echoes }: Question): Promise<string> {
  const { stdin, stderr } = cli.host;
  if (!stdin.isTTY || stdin.setRawMode === undefined) {
    throw fault('ARGUMENT_INVALID', {
      reason: `there is no terminal to prompt on: give ${instead}`,
    });
  }
  stderr.write(question);
  stdin.setRawMode(true);
  stdin.resume();
  try {
    let answer = '';
    while (!answer.endsWith('\n')) {
      const [chunk] = (await once(stdin, 'data', { signal: cli.signal })) as [Buffer];
      for (const character of chunk.toString('utf8')) answer = typed(answer, character);
      if (echoes) stderr.write(`\r${question}\x1b[K${answer.trimEnd()}`);
    }
    return answer.slice(0, -1);
  } finally {
    stdin.setRawMode(false);
    stdin.pause();
    stderr.write('\n');
  }
}

/** Returns the answer after one more key; a line break at its end completes it. */
function typed(answer: string, character: string): string {
  if (character === CTRL_C) throw new Error('interrupted');
  if (answer.endsWith('\n')) return answer;
  if (BACKSPACES.has(character)) return answer.slice(0, -1);
  if (character === '\r' || character === END_OF_INPUT) return `${answer}\n`;
  return answer + character;
}
