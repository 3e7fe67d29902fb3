import type { FileResponse } from '../../contract/file.ts';
import type { Cli } from '../cli.ts';
import type { Register } from '../command.ts';
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
        '"contree run --state ID" places at the destination. Likely secrets are skipped and listed.',
    )
    .argument('<folder>')
    .argument('<destination>', 'absolute path in the image')
    .option('-x, --exclude <PATTERN...>', 'skip files, in .gitignore syntax; "!" includes what is skipped by default')
    .action(
      run(async (cli, { exclude = [] }: { exclude?: readonly string[] }, [folder, destination]: [string, string]) => {
        const contree = await cli.contree();
        using progress = new ProgressLine(cli);
        const transfers = await openTransfers(cli);
        const request = { source: absolutePath(folder), destination, exclude };
        const { signal } = cli;
        const report = await transfers.sync(contree, request, { signal, onProgress: shownSteps(progress, 'files') });
        progress[Symbol.dispose]();
        const { files, uploaded, skipped } = report;
        cli.note(
          `${files} files, ${uploaded} sent${skipped.length > 0 ? `, skipped: ${cli.name(skipped.join(', '))}` : ''}`,
        );
        await cli.print(report, `${report.directoryState}\n`);
      }),
    );
};
