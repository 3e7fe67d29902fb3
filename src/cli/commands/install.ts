import { homedir } from 'node:os';
import { plainDataDir } from '../../config/index.ts';
import { fault } from '../../contract/errors.ts';
import { AGENTS, type Agent, type ServerCommand } from '../agents/agent-config.ts';
import { installationOf, launchCommand } from '../agents/installation.ts';
import type { Cli } from '../cli.ts';
import type { Register } from '../command.ts';

interface InstallOptions {
  readonly print?: boolean;
  readonly uninstall?: boolean;
}

/** Refusal of a token as an argument: other users and programs can read command lines and agents' files. */
const TOKEN =
  'Put the server’s token into ~/.config/contree/mcp.ini as "token = …"; don’t put it in the agent’s config file.';

export const install: Register = (program, run) => {
  const names = AGENTS.map(({ name }) => name).join(', ');
  program
    .command('install')
    .summary('add the MCP server to an agent')
    .description(`Add the MCP server to the configuration of an agent; everything else in it stays.\nAgents: ${names}.`)
    .argument('<agent>', 'agent to configure')
    .option('-p, --print', 'print the snippet instead of writing it')
    .option('-u, --uninstall', 'remove the MCP server')
    .action(
      run(async (cli, options: InstallOptions, [name]: [string]) => {
        const agent = agentOf(name);
        // With the parsers of all formats, which no other command needs.
        const [{ putEntry, takeEntry }, { editFile }] = await Promise.all([
          import('../agents/config-entry.ts'),
          import('../agents/edit-file.ts'),
        ]);
        const { env } = cli.host;
        const file = agent.file({ home: env['HOME'] || homedir(), platform: process.platform, env });
        if (options.print) {
          const text = putEntry(agent, '', agent.entry(serverCommand(cli)), agent.usual);
          cli.note(`Add this to ${file}:`);
          return await cli.print({ agent: name, file, text }, text);
        }
        const edit = (text: string): string =>
          options.uninstall
            ? takeEntry(agent, text)
            : putEntry(agent, text, agent.entry(serverCommand(cli)), agent.usual);
        const changed = await editFile(file, edit);
        if (changed && !options.uninstall && cli.settings.url !== '') cli.note(TOKEN);
        return await cli.print({ agent: name, file, changed }, told(agent, file, changed, options));
      }),
    );
};

function agentOf(name: string): Agent {
  const agent = AGENTS.find((candidate) => candidate.name === name);
  if (agent !== undefined) return agent;
  const known = AGENTS.map((candidate) => candidate.name).join(', ');
  throw fault('ARGUMENT_INVALID', { reason: `unknown agent ${JSON.stringify(name)}; known agents: ${known}` });
}

function told({ title }: Agent, file: string, changed: boolean, { uninstall = false }: InstallOptions): string {
  if (uninstall) return changed ? `${title}: removed contree from ${file}\n` : `${title}: contree is not in ${file}\n`;
  return changed ? `${title}: added contree to ${file}; restart the agent\n` : `${title}: contree was already there\n`;
}

/** Returns the command for the agent: how this installation is started, and the settings that select the store. */
function serverCommand({ host, settings }: Cli): ServerCommand {
  const { url, dataDir } = settings;
  const usual = dataDir === plainDataDir(host.env) ? [] : ['--data-dir', dataDir];
  return launchCommand(installationOf(host), url === '' ? usual : ['--url', url]);
}
