import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import type { CliHost, TerminalOutput } from '../../src/cli/host.ts';
import { runCli } from '../../src/cli/program.ts';
import { openApiDocument } from '../../src/http/openapi.ts';

export const SURFACES_FOLDER: string = join(import.meta.dirname, '../golden/surfaces');

/** Commands whose help is golden, starting with the program's own. */
const COMMANDS = [[], ['run'], ['import'], ['serve'], ['token', 'create'], ['auth', 'registry'], ['install']] as const;

/** Golden files by name: the API's description and the command line's help. */
export async function goldenSurfaces(): Promise<ReadonlyMap<string, string>> {
  const files = new Map([['openapi.json', `${JSON.stringify(openApiDocument('0.0.0'), undefined, 2)}\n`]]);
  for (const command of COMMANDS) files.set(`${['contree', ...command].join('-')}.txt`, await help(command));
  return files;
}

async function help(command: readonly string[]): Promise<string> {
  const output = new PassThrough({ highWaterMark: 1024 * 1024 });
  const stream = Object.assign(output, { columns: 100 }) as TerminalOutput;
  const host: CliHost = {
    stdin: new PassThrough(),
    stdout: stream,
    stderr: stream,
    env: {},
    version: '0.0.0',
    self: ['node', 'contree'],
    onSignal: () => ({ [Symbol.dispose]: () => undefined }),
    runEngineProcess: async () => undefined,
  };
  await runCli(host, [...command, '--help']);
  output.end();
  return (await Array.fromAsync(output)).join('');
}
