import { rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { plainDataDir } from '../../config/index.ts';
import { fault } from '../../contract/errors.ts';
import { AGENTS, type Agent, type ServerCommand } from '../agents/agent-config.ts';
import { installationOf, launchCommand } from '../agents/installation.ts';
import { ownCommand, shellLine } from '../agents/own-command.ts';
import { imageReference, type Cli } from '../cli.ts';
import type { Register } from '../command.ts';

interface InstallOptions {
  readonly print?: boolean;
  readonly uninstall?: boolean;
  readonly hook?: string | true;
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
    .option('-u, --uninstall', 'remove the MCP server; with --hook, the hook')
    .option(
      '--hook [IMAGE]',
      'instead, execute the shell commands of the agent in this folder in instances of the image (claude-code, codex)',
    )
    .action(
      run(async (cli, options: InstallOptions, [name]: [string]) => {
        const agent = agentOf(name);
        if (options.hook !== undefined) return await installHook(cli, name, options);
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

/** Adds our hook to an agent, and makes the current folder a project that begins from the image. */
async function installHook(
  cli: Cli,
  name: string,
  { hook, uninstall = false, print = false }: InstallOptions,
): Promise<void> {
  const [{ hooksFile, ruleFile, ruleText, withHooks }, { editFile }, { Project }] = await Promise.all([
    import('../agents/hooks.ts'),
    import('../agents/edit-file.ts'),
    import('../turns/project.ts'),
  ]);
  const { env } = cli.host;
  const directories = { home: env['HOME'] || homedir(), platform: process.platform, env };
  const [file, rules] = [hooksFile(name, directories), ruleFile(name, directories)];
  const command = shellLine([...ownCommand(cli), 'hook', 'answer']);
  const rule = ruleText([...ownCommand(cli), 'hook', 'run']);
  if (print) {
    const text = withHooks('', command);
    if (rules !== undefined) cli.note(`Add this to ${rules}:\n${rule}`);
    cli.note(`Add this to ${file}:`);
    return await cli.print({ agent: name, file, text }, text);
  }
  if (uninstall) {
    const changed = await editFile(file, (text) => withHooks(text, undefined));
    if (rules !== undefined) await rm(rules, { force: true });
    return await cli.print(
      { agent: name, file, changed },
      `${changed ? 'removed the hook from' : 'there is no hook in'} ${file}\n`,
    );
  }
  if (hook === true || hook === undefined) throw fault('ARGUMENT_INVALID', { reason: 'name the image: --hook IMAGE' });
  const { uuid } = await (await cli.contree()).images.get(imageReference(hook), cli.signal);
  const { folder } = await Project.create(env, process.cwd(), uuid);
  if (rules !== undefined) await editFile(rules, () => rule);
  const changed = await editFile(file, (text) => withHooks(text, command));
  const told = `shell commands of ${name} in ${folder} are executed in instances of image ${uuid}; restart the agent\n`;
  await cli.print({ agent: name, file, changed, folder, image: uuid }, told);
}

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
