import { readFile, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { BuildRequest } from '../../contract/build.ts';
import type { ConTree } from '../../contract/contree.ts';
import { fault } from '../../contract/errors.ts';
import { isTag } from '../../contract/names.ts';
import type { OperationResponse } from '../../contract/operation.ts';
import { collect } from '../../std/bytes.ts';
import { present } from '../../std/present.ts';
import type { SyncFilter } from '../../transfer/local-files.ts';
import { limits } from '../../contract/limits.ts';
import type { Cli } from '../cli.ts';
import type { Register } from '../command.ts';
import { BuildProgress } from './progress.ts';
import { failureOf } from '../terminal/outcome.ts';
import { ProgressLine } from '../terminal/progress.ts';
import { wholeNumber } from '../pages.ts';
import { findLocalArchive } from '../transfer/local-archive.ts';
import { absolutePath, openTransfers, shownSteps } from '../transfer/local-transfers.ts';

interface Options {
  readonly file?: string;
  readonly tag?: string;
  readonly target?: string;
  readonly buildArg?: readonly string[];
  readonly secret?: readonly string[];
  readonly ssh?: readonly string[];
  readonly cache: boolean;
  readonly platform?: string;
  readonly timeout?: string;
}

const DOCKERFILE = 'Dockerfile';

export const build: Register = (program, run) => {
  program
    .command('build')
    .summary('build an image from a Dockerfile')
    .description(
      'Build an image from a Dockerfile. Only changed files of the context are sent, without what .dockerignore leaves ' +
        'out. Every instruction is an image; those that did not change are reused. Prints the UUID of the image.',
    )
    .argument('<context>', 'folder, local tar archive, or "-" for a Dockerfile on standard input')
    .option('-f, --file <PATH>', 'Dockerfile (default: Dockerfile in the context)')
    .option('-t, --tag <TAG>', 'tag of the image')
    .option('--target <STAGE>', 'stage to build (default: the last one)')
    .option('--build-arg <NAME=VALUE>', 'value of an ARG; NAME alone takes the value of the environment', appended)
    .option('--secret <id=ID,src=PATH>', 'secret for RUN --mount=type=secret; env=NAME instead of src', appended)
    .option('--ssh <ID[=SOCKET|KEY,…]>', 'SSH agent for RUN --mount=type=ssh; "default" is yours', appended)
    .option('--no-cache', 'make every step again')
    .option('--platform <PLATFORM>', 'os/architecture; only that of the server')
    .option('--timeout <SECONDS>', 'stop a RUN after this time')
    .action(
      run(async (cli, options: Options, [context]: [string]) => {
        const contree = await cli.contree();
        // Loaded on demand: most builds are lent none.
        await using agents = options.ssh && (await (await import('./ssh.ts')).lendAgents(cli, options.ssh));
        const request = await requestOf(cli, contree, context, options);
        const { uuid } = await contree.images.build({ ...request, ...present({ ssh: agents?.ssh }) }, cli.signal);
        const operation = await followBuild(cli, contree, uuid);
        if (operation.status !== 'SUCCESS') throw failureOf(operation);
        await cli.print(operation, `${operation.result_image_uuid}\n`);
        if (request.tag) cli.note(`tagged ${request.tag}`);
      }),
    );
};

/** Gathers the values of an option that may be given again. */
function appended(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}

async function requestOf(cli: Cli, contree: ConTree, context: string, options: Options): Promise<BuildRequest> {
  const { tag, target, platform, timeout, cache } = options;
  if (tag !== undefined && !isTag(tag)) throw fault('TAG_INVALID', { tag });
  const common = present({
    tag,
    target,
    platform,
    build_args: argumentsOf(cli, options.buildArg ?? []),
    secrets: await secretsOf(cli, options.secret ?? []),
    no_cache: cache ? undefined : true,
    timeout: timeout === undefined ? undefined : wholeNumber(timeout, '--timeout'),
  });
  return { ...common, ...(await contextOf(cli, contree, context, options.file)) };
}

/** Returns the build arguments; a name alone takes its value from the environment, and is left out where there is none. */
function argumentsOf(cli: Cli, given: readonly string[]): Record<string, string> {
  const pairs = given.map((text): readonly [string, string | undefined] => {
    const equals = text.indexOf('=');
    const name = equals < 0 ? text : text.slice(0, equals);
    if (name === '') throw fault('ARGUMENT_INVALID', { reason: '--build-arg: a name stands before the =' });
    return [name, equals < 0 ? cli.host.env[name] : text.slice(equals + 1)];
  });
  return Object.fromEntries(pairs.filter((pair): pair is readonly [string, string] => pair[1] !== undefined));
}

/** Reads secrets from files or variables. A value is never an argument, which other users of the machine could see. */
async function secretsOf(cli: Cli, given: readonly string[]): Promise<BuildRequest['secrets']> {
  const secrets: NonNullable<BuildRequest['secrets']> = [];
  for (const text of given) {
    const fields = new Map(
      text.split(',').map((field) => [field.split('=', 1)[0] ?? '', field.replace(/^[^=]*=?/u, '')]),
    );
    const source = fields.get('src') ?? fields.get('source');
    const variable = fields.get('env');
    const id = fields.get('id') ?? variable ?? '';
    if (id === '') throw fault('ARGUMENT_INVALID', { reason: '--secret: it needs id=ID, and src=PATH or env=NAME' });
    const value = source === undefined ? cli.host.env[variable ?? id] : await readSecret(absolutePath(source));
    if (value === undefined) throw fault('ARGUMENT_INVALID', { reason: `--secret: there is no value for ${id}` });
    secrets.push({ id, content: { value: Buffer.from(value).toString('base64'), encoding: 'base64' } });
  }
  return secrets.length === 0 ? undefined : secrets;
}

async function readSecret(path: string): Promise<Buffer | undefined> {
  const info = await stat(path).catch(() => undefined);
  if (info?.isFile() !== true) return undefined;
  if (info.size <= limits.buildSecretBytesMax) return await readFile(path);
  throw fault('ARGUMENT_INVALID', { reason: `--secret: ${path} is larger than ${limits.buildSecretBytesMax} bytes` });
}

/** Returns where the files and the Dockerfile of a build are; sends what the server does not have. */
async function contextOf(
  cli: Cli,
  contree: ConTree,
  context: string,
  file: string | undefined,
): Promise<Pick<BuildRequest, 'context' | 'dockerfile' | 'dockerfile_text' | 'ignore_text'>> {
  if (context === '-') {
    if (file !== undefined) throw fault('ARGUMENT_INVALID', { reason: '--file: the Dockerfile is standard input' });
    const text = await collect(cli.host.stdin, limits.dockerfileBytesMax);
    return { dockerfile_text: text.toString('utf8') };
  }
  if (/^(?:[a-z][a-z+]*:\/\/|git@)/iu.test(context)) {
    throw fault('ARGUMENT_INVALID', {
      reason: 'the context is not a URL or a repository; clone it, and name its folder',
    });
  }
  const path = absolutePath(context);
  const info = await stat(path).catch(() => undefined);
  if (info === undefined) throw fault('LOCAL_FILE_NOT_FOUND', { path: context });
  if (!info.isDirectory()) return await archiveContext(cli, contree, context, file);
  const source = absolutePath(file ?? join(context, DOCKERFILE));
  const dockerfile = await readText(source);
  if (dockerfile === undefined) throw fault('LOCAL_FILE_NOT_FOUND', { path: source });
  const ignore = (await readText(`${source}.dockerignore`)) ?? (await readText(join(path, '.dockerignore'))) ?? '';
  const state = await sendFolder(cli, contree, path, ignore);
  return {
    context: { directory_state: state },
    dockerfile: basename(source),
    dockerfile_text: dockerfile,
    ignore_text: ignore,
  };
}

async function sendFolder(cli: Cli, contree: ConTree, source: string, ignore: string): Promise<string> {
  using progress = new ProgressLine(cli);
  const transfers = await openTransfers(cli);
  const report = await transfers.sync(
    contree,
    // What a build sees is for .dockerignore to say, not for git.
    {
      source,
      destination: '/',
      exclude: [],
      gitignore: false,
      git: true,
      secrets: true,
      wholeModes: true,
      filter: await filterOf(ignore),
    },
    { signal: cli.signal, onProgress: shownSteps(progress, 'files') },
  );
  progress[Symbol.dispose]();
  cli.note(`${report.files} files, ${report.uploaded} sent`);
  if (report.skipped.length > 0) cli.note(cli.name(`skipped: ${report.skipped.join(', ')}`));
  return report.directoryState;
}

/** Returns the rules of an ignore file. Patterns are loaded where there are some: it takes longer than the whole folder. */
async function filterOf(ignore: string): Promise<SyncFilter | undefined> {
  if (ignore.trim() === '') return undefined;
  const { DockerIgnore } = await import('../../dockerfile/ignore.ts');
  return DockerIgnore.parse(ignore);
}

async function archiveContext(
  cli: Cli,
  contree: ConTree,
  path: string,
  file: string | undefined,
): Promise<Pick<BuildRequest, 'context' | 'dockerfile'>> {
  const archive = await findLocalArchive(path);
  if (archive === undefined) throw fault('LOCAL_FILE_NOT_FOUND', { path });
  const { uuid } = await contree.uploads.create(archive.open(), cli.signal);
  return { context: { file: uuid }, ...present({ dockerfile: file }) };
}

async function readText(path: string): Promise<string | undefined> {
  const info = await stat(path).catch(() => undefined);
  if (info?.isFile() !== true) return undefined;
  if (info.size > limits.dockerfileBytesMax) {
    throw fault('DOCKERFILE_INVALID', { line: 1, reason: `${path} is larger than ${limits.dockerfileBytesMax} bytes` });
  }
  return await readFile(path, 'utf8');
}

/** Shows the steps of a build and their output until it ends. Ctrl-C cancels it. */
async function followBuild(cli: Cli, contree: ConTree, uuid: string): Promise<OperationResponse> {
  cli.onInterrupt(() => void contree.operations.cancel(uuid).catch(() => undefined));
  const progress = new BuildProgress();
  for await (const event of contree.operations.events(uuid, { follow: true }, cli.signal)) {
    const text = progress.take(event);
    // With --json, standard error is for failures.
    if (text !== '' && !cli.json) await cli.write(text, cli.host.stderr);
  }
  return contree.operations.get(uuid, {}, cli.signal);
}
