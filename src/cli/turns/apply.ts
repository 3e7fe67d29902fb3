import { spawn } from 'node:child_process';
import { mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, sep } from 'node:path';
import { text } from 'node:stream/consumers';
import { hashCacheFile } from '../../config/index.ts';
import { fault } from '../../contract/errors.ts';
import type { Cli } from '../cli.ts';
import type { Register } from '../command.ts';
import type { LocalFolders } from '../../transfer/local-folders.ts';
import { askLine } from '../terminal/prompt.ts';
import { visible } from '../text.ts';
import { changesOf, type Change, type Changes } from './changes.ts';
import { Project, type ProjectState } from './project.ts';
import { syncedSince } from './run-command.ts';

const LETTERS = { added: 'A', modified: 'M', removed: 'D' } as const;

interface ApplyOptions {
  readonly yes?: boolean;
  readonly dryRun?: boolean;
}

export const apply: Register = (program, run) => {
  program
    .command('apply')
    .summary('copy what an agent’s commands changed into your folder')
    .description(
      'Copy what the commands of agents have changed in the instance of this project into your own folder: the ' +
        'differences are shown, and nothing is written before you agree. What git ignores is left out.',
    )
    .option('-y, --yes', 'write without asking')
    .option('-n, --dry-run', 'only show the differences')
    .action(
      run(async (cli, options: ApplyOptions) => {
        const project = await Project.at(cli.host.env, process.cwd());
        await using cleanup = new AsyncDisposableStack();
        const staging = await mkdtemp(join(tmpdir(), 'contree-apply-'));
        cleanup.defer(() => rm(staging, { recursive: true, force: true }));
        const state = await project.state();
        const found = await differences(cli, project, { state, staging });
        await show(cli, project, { found, staging });
        const wanted = found.changes.length > 0 && !options.dryRun && (options.yes || (await agreed(cli, found)));
        if (wanted) await write(cli, project, { state, changes: found.changes });
        if (cli.json) await cli.print({ ...found, applied: wanted }, '');
        return found.refused.length > 0 ? REFUSED : 0;
      }),
    );
};

/** Exit code when some changes could not be applied. */
const REFUSED = 1;

interface Looked {
  readonly state: ProjectState;
  readonly staging: string;
}

async function differences(cli: Cli, project: Project, { state, staging }: Looked): Promise<Changes> {
  const contree = await cli.contree();
  const [known, now] = [await project.known(state), await syncedSince(cli, project, state)];
  const folders = await foldersOf(cli, project);
  const keepsLink = (path: string, target: string): boolean =>
    folders.keepsLink({ path: join(project.folder, path), target });
  return await changesOf(contree, state, { known, now, staging, keepsLink }, cli.signal);
}

async function show(
  cli: Cli,
  { folder }: Project,
  { found: { changes, refused }, staging }: { readonly found: Changes; readonly staging: string },
): Promise<void> {
  if (cli.json) return;
  for (const { path, kind, target, replacesLink } of changes) {
    const link = target === undefined ? '' : ` -> ${cli.name(target)}`;
    await cli.write(`${LETTERS[kind]} ${cli.name(path)}${link}\n`);
    if (target !== undefined || (kind === 'removed' && replacesLink)) continue;
    const [before, after] = [
      // A link would be followed.
      kind === 'added' || replacesLink ? '/dev/null' : join(folder, path),
      kind === 'removed' ? '/dev/null' : join(staging, path),
    ];
    await cli.write(shown(cli, await patchOf(path, before, after)));
  }
  for (const line of refused) await cli.write(`not applied: ${cli.name(line)}\n`, cli.host.stderr);
  if (changes.length === 0) cli.note('there is nothing to apply');
}

/** Returns the difference of two files as `diff -u` has it; empty where there is no such program. */
async function patchOf(path: string, before: string, after: string): Promise<string> {
  const args = ['-u', '--label', `a/${path}`, '--label', `b/${path}`, '--', before, after];
  const child = spawn('diff', args, { stdio: ['ignore', 'pipe', 'ignore'] });
  const absent = new Promise<string>((resolve) => child.once('error', () => resolve('')));
  return await Promise.race([text(child.stdout), absent]);
}

/** Escapes what could steer a terminal, except line breaks and tabs: the content comes from the guest. */
function shown(cli: Cli, patch: string): string {
  if (!cli.host.stdout.isTTY) return patch;
  return patch
    .split('\n')
    .map((line) => visible(line).replaceAll('\\t', '\t'))
    .join('\n');
}

async function agreed(cli: Cli, { changes }: Changes): Promise<boolean> {
  const answer = await askLine(cli, `Write ${changes.length} files? [y/N] `, '--yes to write, or --dry-run');
  return /^y(?:es)?$/iu.test(answer.trim());
}

interface Writing {
  readonly state: ProjectState;
  readonly changes: readonly Change[];
}

/** Writes the changes, unless another command has made further ones meanwhile: they were not shown. */
async function write(cli: Cli, project: Project, { state, changes }: Writing): Promise<void> {
  await project.change(async (latest) => {
    if (latest.current.image !== state.current.image || latest.current.manifest !== state.current.manifest) {
      throw fault('ARGUMENT_INVALID', {
        reason: 'a command has changed something meanwhile; call "contree apply" again',
      });
    }
    for (const change of changes) await writeOne(cli, project, { image: latest.current.image, change });
    const now = (await syncedSince(cli, project, latest)).manifest ?? {};
    const written = Object.fromEntries(changes.map(({ path }) => [path, now[path] ?? null]));
    return { ...latest, applied: latest.current.image, written: { ...latest.written, ...written } };
  }, cli.signal);
}

async function writeOne(
  cli: Cli,
  project: Project,
  { image, change: { path, kind, executable, target } }: { readonly image: string; readonly change: Change },
): Promise<void> {
  const { folder } = project;
  const destination = join(folder, path);
  if (kind === 'removed') {
    // A link may have taken the place of a directory meanwhile.
    if (!`${await realpath(dirname(destination))}${sep}`.startsWith(`${folder}${sep}`)) return;
    await rm(destination, { force: true });
    return;
  }
  const folders = await foldersOf(cli, project);
  if (target !== undefined) return folders.link({ path: destination, target });
  const request = { image, path: destination, destination, executable, overwrite: true };
  await folders.download(await cli.contree(), request, { signal: cli.signal });
}

/** Returns the folder for writing, confined: a link in it must not lead a write elsewhere. */
async function foldersOf(cli: Cli, { folder }: Project): Promise<LocalFolders> {
  const { LocalFolders } = await import('../../transfer/local-folders.ts');
  const cache = { path: hashCacheFile(cli.settings, cli.host.env), keptDays: cli.settings.cachePruneDays };
  return new LocalFolders({ roots: [folder], cache, namedBy: 'user' });
}
