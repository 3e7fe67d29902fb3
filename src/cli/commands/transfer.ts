import type { FileResponse } from '../../contract/file.ts';
import type { SyncReport } from '../../transfer/local-files.ts';
import { imageReference, type Cli } from '../cli.ts';
import type { Register } from '../command.ts';
import { leftOutText } from '../../transfer/left-out.ts';
import { absolutePath, openTransfers, shownSteps } from '../transfer/local-transfers.ts';
import { ProgressLine } from '../terminal/progress.ts';

export const upload: Register = (program, run) => {
  program
    .command('upload')
    .summary('upload files for runs')
    .description('Upload files for use in runs. The same content is stored once. "-" is standard input.')
    .argument('<file...>')
    .action(
      run(async (cli, _options, [files]: [readonly string[]]) => {
        const uploaded: FileResponse[] = [];
        for (const file of files) uploaded.push(await uploadOne(cli, file));
        await cli.print(uploaded, uploaded.map(({ uuid }) => `${uuid}\n`).join(''));
      }),
    );
};

async function uploadOne(cli: Cli, path: string): Promise<FileResponse> {
  const contree = await cli.contree();
  if (path === '-') return contree.uploads.create(cli.host.stdin, cli.signal);
  using progress = new ProgressLine(cli);
  const transfers = await openTransfers(cli);
  const { signal } = cli;
  return transfers.upload(contree, absolutePath(path), { signal, onProgress: shownSteps(progress, 'bytes') });
}

export const rsync: Register = (program, run) => {
  program
    .command('rsync')
    .summary('sync a folder so that runs can use it')
    .description(
      'Sync a local folder: only changed files are read and sent. Prints the id of the directory state, which ' +
        '"contree run --state ID" places at the destination. What git ignores is left out, and so is .git; likely ' +
        'secrets are skipped. Both are said.',
    )
    .argument('<folder>')
    .argument('<destination>', 'absolute path in the image')
    .option('-x, --exclude <PATTERN...>', 'skip files, in .gitignore syntax; "!" includes what is skipped by default')
    .option('--no-gitignore', 'bring what .gitignore files leave out')
    .option('--git', 'bring .git directories')
    .option('--mirror <IMAGE>', 'also remove what this image has at the destination and the folder lacks')
    .action(
      run(async (cli, options: RsyncOptions, [folder, destination]: [string, string]) => {
        const { exclude = [], gitignore, git = false, mirror } = options;
        const contree = await cli.contree();
        using progress = new ProgressLine(cli);
        const transfers = await openTransfers(cli);
        const source = { source: absolutePath(folder), destination, exclude, gitignore, git };
        const request = { ...source, ...(mirror !== undefined && { mirror: imageReference(mirror) }) };
        const { signal } = cli;
        const report = await transfers.sync(contree, request, { signal, onProgress: shownSteps(progress, 'files') });
        progress[Symbol.dispose]();
        for (const line of told(report)) cli.note(cli.name(line));
        await cli.print(report, `${report.directoryState}\n`);
      }),
    );
};

interface RsyncOptions {
  readonly exclude?: readonly string[];
  readonly gitignore: boolean;
  readonly git?: boolean;
  readonly mirror?: string;
}

function told({ files, uploaded, removed, skipped, leftOut }: SyncReport): readonly string[] {
  return [
    `${files} files, ${uploaded} sent${removed > 0 ? `, ${removed} to be removed` : ''}`,
    ...(leftOut === undefined ? [] : [`left out: ${leftOutText(leftOut)}`]),
    ...(skipped.length > 0 ? [`skipped: ${skipped.join(', ')}`] : []),
  ];
}
