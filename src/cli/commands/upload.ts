import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { fault } from '../../contract/errors.ts';
import type { FileResponse } from '../../contract/file.ts';
import type { Cli } from '../cli.ts';
import type { Register } from '../command.ts';
import { ProgressLine } from '../progress.ts';
import { formatBytes } from '../text.ts';

export const upload: Register = (program, run) => {
  program
    .command('upload')
    .summary('upload files for runs')
    .description('Upload files, to be named in runs. The same content is kept once. "-" is standard input.')
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
  if (path === '-') return contree.uploadFile(cli.host.stdin, cli.signal);
  const info = await stat(path).catch(() => undefined);
  if (!info?.isFile()) throw fault('ARGUMENT_INVALID', { reason: `${path} is no file` });
  using progress = new ProgressLine(cli);
  return contree.uploadFile(counted(createReadStream(path), info.size, progress), cli.signal);
}

async function* counted(
  body: AsyncIterable<Uint8Array>,
  total: number,
  progress: ProgressLine,
): AsyncGenerator<Uint8Array> {
  let sent = 0;
  for await (const chunk of body) {
    yield chunk;
    sent += chunk.byteLength;
    progress.show(`uploading ${formatBytes(sent)} of ${formatBytes(total)}`, sent, total);
  }
}
