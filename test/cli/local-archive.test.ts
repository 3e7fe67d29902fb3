import assert from 'node:assert/strict';
import { appendFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { findLocalArchive } from '../../src/cli/transfer/local-archive.ts';
import { isFault } from '../../src/contract/errors.ts';
import { defined } from '../../src/std/assert.ts';
import { collect, textOf } from '../../src/std/bytes.ts';
import { TarReader } from '../../src/tar/reader.ts';
import { Scratch } from '../support/layers.ts';

test('a layout folder is packed with every path and byte, and a file that grows meanwhile ends it', async () => {
  await using scratch = await Scratch.create();
  const folder = scratch.path();
  const deep = join('blobs', 'd'.repeat(120));
  await mkdir(join(folder, deep), { recursive: true });
  const files = { 'oci-layout': '{}', [join(deep, 'größe')]: 'x'.repeat(1_000), [join(deep, 'empty')]: '' };
  for (const [path, content] of Object.entries(files)) await writeFile(join(folder, path), content);

  const archive = defined(await findLocalArchive(folder), 'the folder exists');
  const reader = new TarReader(archive.open());
  const found: Record<string, string> = {};
  for (let entry = await reader.next(); entry !== undefined; entry = await reader.next()) {
    found[defined(textOf(entry.path), 'names are UTF-8')] = (await collect(reader.content(), 1e6)).toString();
  }
  assert.deepEqual(found, files);

  await assert.rejects(findLocalArchive(join(folder, 'blobs')), (error) => isFault(error, 'ARCHIVE_INVALID'));

  await appendFile(join(folder, 'oci-layout'), 'more');
  await assert.rejects(collect(archive.open(), 1e6), (error) => isFault(error, 'ARCHIVE_INVALID'));
});
