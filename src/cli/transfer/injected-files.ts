import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { fault } from '../../contract/errors.ts';
import type { FileSpec } from '../../contract/run.ts';
import type { Cli } from '../cli.ts';

/** Uploads the local files of `LOCAL:PATH[:MODE]` arguments; the mode is the local one unless given. */
export async function injectedFiles(cli: Cli, files: readonly string[]): Promise<Record<string, FileSpec>> {
  const contree = await cli.contree();
  const injected: Record<string, FileSpec> = {};
  for (const file of files) {
    const [, local, path, given] = /^(.+?):(\/[^:]*)(?::([0-7]{3,4}))?$/su.exec(file) ?? [];
    if (local === undefined || path === undefined) {
      throw fault('ARGUMENT_INVALID', { reason: `--file takes LOCAL:/PATH or LOCAL:/PATH:0755, not ${file}` });
    }
    const info = await stat(local).catch(() => undefined);
    if (!info?.isFile()) throw fault('ARGUMENT_INVALID', { reason: `${local} is not a file` });
    const { uuid } = await contree.uploads.create(createReadStream(local), cli.signal);
    injected[path] = { uuid, mode: given ?? (info.mode & 0o777).toString(8).padStart(4, '0') };
  }
  return injected;
}
