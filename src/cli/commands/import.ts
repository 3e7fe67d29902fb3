import type { ConTree } from '../../contract/contree.ts';
import { fault } from '../../contract/errors.ts';
import { isTag } from '../../contract/names.ts';
import type { OperationResponse } from '../../contract/operation.ts';
import { streamBytes } from '../../contract/stream.ts';
import { present } from '../../std/present.ts';
import { type AccountOptions, accountOf, addAccountOptions } from '../account.ts';
import type { Cli } from '../cli.ts';
import type { Register } from '../command.ts';
import { findLocalArchive, type LocalArchive } from '../transfer/local-archive.ts';
import { failureOf } from '../terminal/outcome.ts';
import { wholeNumber } from '../pages.ts';
import { ProgressLine } from '../terminal/progress.ts';
import { formatBytes } from '../text.ts';

interface Options extends AccountOptions {
  /** Tag for the image; false with `--no-tag`. */
  readonly tag?: string | false;
  readonly timeout?: string;
  readonly reference?: string;
}

export const importImage: Register = (program, run) => {
  const command = program
    .command('import')
    .summary('import an image from a registry or a file')
    .description(
      'Import an image from a registry (python:3.11-slim, docker://ghcr.io/owner/image:tag) or from a local ' +
        'docker-save archive, OCI layout (tar or folder) or root file system tar.',
    )
    .argument('<source>', 'reference, or path of a local archive')
    .option('-t, --tag <TAG>', 'tag of the image (default: repository and tag of the reference)')
    .option('--no-tag', 'do not tag the image')
    .option('--timeout <SECONDS>', 'give up after this time')
    .option('--reference <NAME>', 'image to import from an archive with several');
  addAccountOptions(command, 'import').action(
    run(async (cli, options: Options, [source]: [string]) => {
      const contree = await cli.contree();
      using progress = new ProgressLine(cli);
      const archive = await localArchive(source);
      const started = archive
        ? await startArchive(cli, contree, { archive, options, progress })
        : await startRegistry(cli, contree, source, options);
      const operation = await followImport(cli, contree, started.uuid, progress);
      if (operation.status !== 'SUCCESS') throw failureOf(operation);
      await cli.print(operation, `${operation.result_image_uuid}\n`);
      const tag = operation.result?.tag;
      if (tag) cli.note(`tagged ${tag}`);
    }),
  );
};

/**
 * Opens the source if it is a local file: anything that looks like a path must exist; anything else is a reference
 * unless a file of that name exists.
 */
async function localArchive(source: string): Promise<LocalArchive | undefined> {
  if (source.includes('://')) return undefined;
  const found = await findLocalArchive(source);
  if (found === undefined && /^(?:\.{0,2}\/|~)|\.(?:tar|tgz|gz|zst)$/u.test(source)) {
    throw fault('ARCHIVE_INVALID', { reason: `${source} does not exist` });
  }
  return found;
}

async function startRegistry(cli: Cli, contree: ConTree, url: string, options: Options): Promise<{ uuid: string }> {
  const { timeout } = options;
  const credentials = await accountOf(cli, options);
  const tag = options.tag === undefined ? usualTag(url) : options.tag || null;
  const request = {
    registry: present({ url, credentials }),
    tag,
    ...(timeout !== undefined && { timeout: wholeNumber(timeout, '--timeout') }),
  };
  return contree.images.import(request, cli.signal);
}

/**
 * Returns the default tag of a reference, `python:3.11-slim` for `docker://docker.io/library/python:3.11-slim`, or null
 * when it would not be a valid tag.
 */
export function usualTag(reference: string): string | null {
  const bare = reference.replace(/^\w+:\/\//u, '').replace(/@sha256:.*$/u, '');
  const name = bare.replace(/^(?:docker\.io|index\.docker\.io)\//u, '').replace(/^library\//u, '');
  const withoutHost =
    /^[^/]*[.:][^/]*\//u.test(name) || name.startsWith('localhost/') ? name.replace(/^[^/]*\//u, '') : name;
  return isTag(withoutHost) ? withoutHost : null;
}

interface ArchiveStart {
  readonly archive: LocalArchive;
  readonly options: Options;
  readonly progress: ProgressLine;
}

async function startArchive(cli: Cli, contree: ConTree, start: ArchiveStart): Promise<{ uuid: string }> {
  const { archive, options, progress } = start;
  const { tag, reference, timeout } = options;
  const { uuid: file } = await contree.uploads.create(counted(archive, progress), cli.signal);
  const request = {
    file,
    name: archive.name,
    tag: tag || null,
    ...present({ reference }),
    ...(timeout !== undefined && { timeout: wholeNumber(timeout, '--timeout') }),
  };
  return contree.images.importArchive(request, cli.signal);
}

async function* counted({ bytes, open }: LocalArchive, progress: ProgressLine): AsyncGenerator<Uint8Array> {
  let sent = 0;
  for await (const chunk of open()) {
    yield chunk;
    sent += chunk.byteLength;
    progress.show(`uploading ${formatBytes(sent)} of ${formatBytes(bytes)}`, sent, bytes);
  }
}

/** Shows the progress lines of an import until it ends. Ctrl-C cancels it. */
async function followImport(
  cli: Cli,
  contree: ConTree,
  uuid: string,
  progress: ProgressLine,
): Promise<OperationResponse> {
  cli.onInterrupt(() => void contree.operations.cancel(uuid).catch(() => undefined));
  progress.show('importing');
  for await (const event of contree.operations.events(uuid, { follow: true }, cli.signal)) {
    if (event.type !== 'stdout') continue;
    const line = streamBytes(event.data).toString().trim().split('\n').at(-1) ?? '';
    const { done_bytes: done, total_bytes: total } = event.data.progress ?? {};
    progress.show(line, done, total);
  }
  return contree.operations.get(uuid, {}, cli.signal);
}
