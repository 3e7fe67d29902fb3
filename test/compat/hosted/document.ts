import { mkdtempDisposable, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';
import { command } from '../../../scripts/support/command.ts';
import type { Document } from '../../support/openapi.ts';

/** Client of the hosted service whose wheel contains the service's OpenAPI document. */
const CLIENT = 'contree-client==0.4.4';

/** Returns the OpenAPI document of the hosted service, from the wheel of its client as pip fetches it. */
export async function hostedDocument(): Promise<Document> {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'contree-hosted-'));
  const { path } = folder;
  const pip = ['-m', 'pip', '--disable-pip-version-check', 'download', '--quiet', '--no-deps'];
  await command('python3', [...pip, '--only-binary', ':all:', '--dest', path, CLIENT]);
  await command('sh', ['-c', 'python3 -m zipfile -e "$1"/*.whl "$1"', 'sh', path]);
  const module = await readFile(join(path, 'contree_client/spec_info.py'), 'utf8');
  const [, indented = ''] = /\.\. code-block:: yaml\n(.*?)"""/su.exec(module) ?? [];
  return parse(indented.replaceAll(/^ {4}/gmu, '').replaceAll('\\\\', '\\')) as Document;
}
