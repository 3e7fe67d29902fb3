import { mkdir, readFile, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fault } from '../../contract/errors.ts';
import { writeFileAtomically } from '../../std/atomic-file.ts';
import { AGENTS, type Agent } from '../agent-config.ts';
import type { Cli } from '../cli.ts';
import type { Register } from '../command.ts';

interface InstallOptions {
  readonly print?: boolean;
}

export const install: Register = (program, run) => {
  const names = AGENTS.map(({ name }) => name).join(', ');
  program
    .command('install')
    .summary('add the MCP server to an agent')
    .description(`Add the MCP server to the configuration of an agent, and keep all else in it.\nAgents: ${names}.`)
    .argument('<agent>', 'which agent')
    .option('-p, --print', 'print the file as it would be, and write nothing')
    .action(
      run(async (cli, options: InstallOptions, [name]: [string]) => {
        const agent = agentOf(name);
        const { env } = cli.host;
        const file = agent.file({
          home: env['HOME'] ?? homedir(),
          platform: process.platform,
          appData: env['APPDATA'],
        });
        const before = await textOf(file);
        const after = agent.merge(before, serverCommand(cli));
        if (options.print) return cli.print({ agent: name, file, text: after }, after);
        const changed = after !== before;
        if (changed) {
          await mkdir(dirname(file), { recursive: true });
          await writeFileAtomically(file, after, { mode: await modeOf(file) });
        }
        const told = changed
          ? `${agent.title}: contree is in ${file}; start it anew`
          : `${agent.title}: contree was there already`;
        return cli.print({ agent: name, file, changed }, `${told}\n`);
      }),
    );
};

function agentOf(name: string): Agent {
  const agent = AGENTS.find((candidate) => candidate.name === name);
  if (agent !== undefined) return agent;
  const known = AGENTS.map((candidate) => candidate.name).join(', ');
  throw fault('ARGUMENT_INVALID', { reason: `agent ${JSON.stringify(name)} is not known; known are ${known}` });
}

/** The launcher beside ours, and the settings that decide which store is used. */
function serverCommand({ host, settings }: Cli): { command: string; args: string[] } {
  const launcher = join(dirname(host.self.at(1) ?? host.self[0]), 'contree-mcp');
  const dataDir = settings.dataDir === '' ? [] : ['--data-dir', settings.dataDir];
  const url = settings.url === '' ? [] : ['--url', settings.url];
  return { command: launcher, args: [...dataDir, ...url] };
}

async function textOf(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
}

/** A new file is the user's alone: agents keep secrets there. */
async function modeOf(file: string): Promise<number> {
  const stats = await stat(file).catch(() => undefined);
  return stats === undefined ? 0o600 : stats.mode & 0o777;
}
