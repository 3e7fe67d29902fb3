import type { ConTree } from '../../contract/contree.ts';
import type { FileItem, GrepQuery } from '../../contract/inspect.ts';
import { limits } from '../../contract/limits.ts';
import { formatListing } from '../../std/listing.ts';
import { present } from '../../std/present.ts';
import { parseImagePath, imageReference } from '../cli.ts';
import type { Register } from '../command.ts';
import { diffText } from '../diff-text.ts';
import { wholeNumber } from '../pages.ts';
import { visible } from '../text.ts';

export const ls: Register = (program, run) => {
  program
    .command('ls')
    .summary('list a directory of an image')
    .description('List a directory of an image without starting a sandbox.')
    .argument('<image>', 'tag or UUID, or IMAGE:/PATH')
    .argument('[path]')
    .option('-l, --long', 'show mode, owner, size and time')
    .action(
      run(async (cli, { long }: { long?: boolean }, [image, path]: [string, string?]) => {
        const at = parseImagePath(image, path);
        const files = await entriesOf(await cli.contree(), at, cli.signal);
        await cli.print(files, () => {
          if (long) return formatListing(files, (name) => cli.name(name));
          return files.map((file) => `${cli.name(file.path)}${file.is_dir ? '/' : ''}\n`).join('');
        });
      }),
    );
};

/** Returns all entries of a directory, however many there are. */
async function entriesOf(
  { files, images }: ConTree,
  { image, path }: ReturnType<typeof parseImagePath>,
  signal: AbortSignal,
): Promise<FileItem[]> {
  const limit = limits.entriesListedMax;
  const first = await files.list(image, { path, limit }, signal);
  if (first.files.length >= (first.total ?? 0)) return first.files;
  // A tag may move between two pages, so they are of one image.
  const { uuid } = await images.get(image, signal);
  const entries: FileItem[] = [];
  let page;
  do {
    page = await files.list(uuid, { path, limit, offset: entries.length }, signal);
    entries.push(...page.files);
  } while (page.files.length > 0 && entries.length < (page.total ?? 0));
  return entries;
}

export const cat: Register = (program, run) => {
  program
    .command('cat')
    .summary('print files of an image')
    .description('Print files of an image unchanged.')
    .argument('<image>', 'tag or UUID, or IMAGE:/PATH')
    .argument('[path...]')
    .action(
      run(async (cli, _options, [image, paths]: [string, readonly string[]]) => {
        const contree = await cli.contree();
        const files =
          paths.length === 0 ? [parseImagePath(image, undefined)] : paths.map((path) => parseImagePath(image, path));
        for (const file of files) {
          const { body } = await contree.files.read(file.image, { path: file.path }, cli.signal);
          for await (const chunk of body) await cli.write(chunk);
        }
      }),
    );
};

interface GrepOptions {
  readonly ignoreCase?: boolean;
  readonly smartCase?: boolean;
  readonly glob?: readonly string[];
  readonly maxCount?: string;
  readonly before?: string;
  readonly after?: string;
  readonly context?: string;
}

/** Exit code for "no match", as in grep: it is a result, not a failure. */
const NO_MATCH = 1;

export const grep: Register = (program, run) => {
  program
    .command('grep')
    .summary('search the files of an image')
    .description('Search the files of an image for a regular expression without starting a sandbox.')
    .argument('<pattern>')
    .argument('<image>', 'tag or UUID')
    .argument('[path...]', 'default: the whole image')
    .option('-i, --ignore-case')
    .option('-S, --smart-case', 'ignore case unless the pattern has capitals')
    .option('-g, --glob <GLOB...>', 'only matching files; ! negates')
    .option('-m, --max-count <COUNT>', 'maximum number of matches per file')
    .option('-B, --before <LINES>', 'lines of context before a match')
    .option('-A, --after <LINES>', 'lines of context after a match')
    .option('-C, --context <LINES>', 'lines of context around a match')
    .action(
      run(async (cli, options: GrepOptions, [pattern, image, paths]: [string, string, readonly string[]]) => {
        const query = grepQuery(pattern, paths, options);
        const found = await (await cli.contree()).files.grep(imageReference(image), query, cli.signal);
        await cli.print(found, () => {
          const lines = found.matches.map(({ path, line_number, line_text, type }) => {
            const mark = type === 'match' ? ':' : '-';
            const text = line_text.replace(/\r?\n$/u, '');
            return `${cli.name(path)}${mark}${line_number}${mark}${cli.host.stdout.isTTY ? visible(text) : text}\n`;
          });
          return lines.join('');
        });
        if (found.truncated) cli.note('the search was cut short; narrow it with paths or globs');
        return found.matches.length === 0 ? NO_MATCH : 0;
      }),
    );
};

function grepQuery(pattern: string, paths: readonly string[], options: GrepOptions): GrepQuery {
  const { ignoreCase, smartCase, glob, maxCount, context } = options;
  const before = options.before ?? context;
  const after = options.after ?? context;
  const insensitive = ignoreCase ? 'insensitive' : undefined;
  return present({
    pattern: [pattern],
    path: paths.length > 0 ? paths : undefined,
    glob,
    max_count: maxCount === undefined ? undefined : wholeNumber(maxCount, '--max-count'),
    before: before === undefined ? undefined : wholeNumber(before, '--before', 0),
    after: after === undefined ? undefined : wholeNumber(after, '--after', 0),
    case: smartCase ? 'smart' : insensitive,
  });
}

export const diff: Register = (program, run) => {
  program
    .command('diff')
    .summary('show what changed between two images')
    .description('Show what changed from one image to another: A added, D removed, M content, m mode or owner.')
    .argument('<from>', 'tag or UUID')
    .argument('<to>', 'tag or UUID')
    .argument('[path]', 'only below this path')
    .option('-p, --patch', 'show the changed lines of small text files')
    .action(
      run(async (cli, { patch }: { patch?: boolean }, [from, to, path]: [string, string, string?]) => {
        const query = { ...present({ path }), ...(patch && { patch }) };
        const contree = await cli.contree();
        const result = await contree.images.diff(
          imageReference(from),
          { to: imageReference(to), ...query },
          cli.signal,
        );
        await cli.print(result, () => diffText(cli, result));
        if (result.truncated) cli.note('there are more changes than shown; narrow it with a path');
      }),
    );
};
