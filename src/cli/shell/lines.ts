import { createInterface } from 'node:readline/promises';
import { text } from 'node:stream/consumers';
import type { Cli } from '../cli.ts';
import { visible } from '../text.ts';
import { isComplete } from './complete.ts';
import type { ShellSession } from './session.ts';

const HISTORY_MAX = 1_000;
const CONTINUED = '> ';

/** Yields commands from `-c`, or from standard input: as many lines at a time as make a complete command. */
export async function* pipedLines(cli: Cli, given: string | undefined): AsyncGenerator<string> {
  let begun = given ?? '';
  for (const line of given === undefined ? (await text(cli.host.stdin)).split('\n') : []) {
    begun = begun === '' ? line : `${begun}\n${line}`;
    if (!isComplete(begun)) continue;
    yield begun;
    begun = '';
  }
  // The shell says what is missing.
  if (begun !== '') yield begun;
}

/**
 * Yields commands that are typed at a prompt, with line editing and history. Ctrl-C gives up a line, Ctrl-D ends the
 * input. The terminal is left to others between two commands.
 */
export async function* promptedLines(cli: Cli, session: ShellSession): AsyncGenerator<string> {
  const history: string[] = [];
  for (;;) {
    const command = await typedCommand(cli, promptOf(session), history);
    if (command === undefined) return;
    yield command;
  }
}

function promptOf({ timeline, directory }: ShellSession): string {
  return `${timeline.current.image.slice(0, 8)}:${visible(directory)}# `;
}

/** Reads one command; undefined at the end of the input. `history` has the newest line first and gets the new ones. */
async function typedCommand(cli: Cli, prompt: string, history: string[]): Promise<string | undefined> {
  let begun: string | undefined;
  for (;;) {
    const line = await typedLine(cli, begun === undefined ? prompt : CONTINUED, history);
    if (line === GIVEN_UP) begun = undefined;
    else if (line === undefined) return undefined;
    else {
      begun = begun === undefined ? line : `${begun}\n${line}`;
      if (isComplete(begun)) return begun;
    }
  }
}

/** Mark of a line that was given up with Ctrl-C. */
const GIVEN_UP = Symbol('given up');

async function typedLine(cli: Cli, prompt: string, history: string[]): Promise<string | typeof GIVEN_UP | undefined> {
  const { stdin, stdout } = cli.host;
  const reader = createInterface({ input: stdin, output: stdout, terminal: true, history, historySize: HISTORY_MAX });
  const ended = Promise.withResolvers<typeof GIVEN_UP | undefined>();
  reader.once('SIGINT', () => {
    stdout.write('^C\n');
    ended.resolve(GIVEN_UP);
  });
  reader.once('close', () => ended.resolve(undefined));
  reader.on('history', (lines) => history.splice(0, history.length, ...lines));
  try {
    const asked = reader.question(prompt);
    // Of a closed reader the question never ends, or is refused.
    asked.catch(() => undefined);
    return await Promise.race([asked, ended.promise]);
  } finally {
    reader.close();
  }
}
