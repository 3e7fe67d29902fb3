import { lstat, mkdir, readFile, readlink, realpath, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import type { Stats } from 'node:fs';
import { plainDataDir } from '../../config/index.ts';
import { fault } from '../../contract/errors.ts';
import { writeFileAtomically } from '../../std/files.ts';
import { AGENTS, launchCommand, type Agent, type ServerCommand } from '../agents/agent-config.ts';
import type { Cli } from '../cli.ts';
import type { Register } from '../command.ts';
import { putEntry, takeEntry } from '../agents/config-entry.ts';

interface InstallOptions {
  readonly print?: boolean;
  readonly uninstall?: boolean;
}

/** Size limit of an agent's file; some agents keep their history in it. */
const FILE_BYTES_MAX = 64 * 1024 * 1024;
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

/** Returns the command for the agent: the launcher next to ours, and the settings that select the store. */
function serverCommand({ host, settings }: Cli): ServerCommand {
  const { url, dataDir } = settings;
  const usual = dataDir === plainDataDir(host.env) ? [] : ['--data-dir', dataDir];
  const launcher = join(dirname(host.self.at(1) ?? host.self[0]), 'contree-mcp');
  return launchCommand(launcher, url === '' ? usual : ['--url', url], process.platform);
}

/**
 * Edits a file of another program in one step, through a symlink if it is one, and keeps its permissions and owner.
 * Returns true when anything changed. Faults: AGENT_FILE_INVALID when the edit is impossible; the file is then
 * untouched.
 */
async function editFile(file: string, edit: (text: string) => string): Promise<boolean> {
  try {
    const target = await targetOf(file);
    const stats = await stat(target).catch(ifMissing);
    const before = stats === undefined ? '' : await textOf(target, stats);
    const after = edit(before);
    if (after === before) return false;
    await mkdir(dirname(target), { recursive: true });
    const owner = stats !== undefined && process.getuid?.() === 0 && { owner: { uid: stats.uid, gid: stats.gid } };
    // A new file is readable by its owner only: agents keep secrets there.
    await writeFileAtomically(target, after, { mode: stats === undefined ? 0o600 : stats.mode & 0o777, ...owner });
    return true;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw fault('AGENT_FILE_INVALID', { file, reason }, { cause: error });
  }
}

async function textOf(path: string, stats: Stats): Promise<string> {
  if (!stats.isFile()) throw new Error('it is not a file');
  if (stats.size > FILE_BYTES_MAX) throw new Error(`it is larger than ${FILE_BYTES_MAX} bytes`);
  return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(await readFile(path));
}

/**
 * Resolves a symlink even if its target does not exist yet: replacing the link would detach it from the dotfiles it
 * belongs to.
 */
async function targetOf(file: string): Promise<string> {
  const link = await lstat(file).catch(ifMissing);
  if (link?.isSymbolicLink() !== true) return file;
  return (await realpath(file).catch(ifMissing)) ?? resolve(dirname(file), await readlink(file));
}

function ifMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error;
}
