import { createWriteStream } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ConTree } from '../../contract/contree.ts';
import { fault } from '../../contract/errors.ts';
import { limits } from '../../contract/limits.ts';
import { collect, textOf, type ByteString } from '../../std/bytes.ts';
import { TarReader } from '../../tar/reader.ts';
import { contentPadding, encodeHeader, TAR_END } from '../../tar/writer.ts';

/** Parts of the `manifest.json` of an export that are read here. */
interface DockerManifest {
  readonly Config: string;
  readonly Layers: readonly string[];
}

/** Configuration of an exported image (OCI image-spec, config.md): what FROM passes on. */
export interface ExportedConfig {
  readonly Env?: readonly string[];
  readonly Cmd?: readonly string[];
  readonly Entrypoint?: readonly string[];
  readonly WorkingDir?: string;
  readonly User?: string;
  readonly Labels?: Readonly<Record<string, string>>;
}

/** Returns the configuration of an image. Reads its export only up to there. */
export async function configOf(contree: ConTree, image: string, signal: AbortSignal): Promise<ExportedConfig> {
  const reader = new TarReader(await contree.images.export(image, signal));
  let path: string | undefined;
  for (let entry = await reader.next(); entry !== undefined; entry = await reader.next()) {
    const name = textOf(entry.path);
    if (name === 'manifest.json') path = (await manifestOf(reader)).Config;
    else if (name === path) return ((await jsonOf(reader)) as { config?: ExportedConfig }).config ?? {};
  }
  throw fault('ARCHIVE_INVALID', { reason: 'the export has no configuration' });
}

/** Contents of a layer that was written as an archive. */
export interface WrittenLayer {
  /** Absolute paths of its files and links. */
  readonly files: readonly string[];
  /** Absolute paths that it removes from what is below it; they are not in the archive. */
  readonly removed: readonly string[];
}

/** Writes the uppermost layer of an image as a tar that ADD unpacks. */
export async function writeTopLayer(
  contree: ConTree,
  image: string,
  file: string,
  signal: AbortSignal,
): Promise<WrittenLayer> {
  const reader = new TarReader(await contree.images.export(image, signal));
  let path: string | undefined;
  for (let entry = await reader.next(); entry !== undefined; entry = await reader.next()) {
    const name = textOf(entry.path);
    if (name === 'manifest.json') path = (await manifestOf(reader)).Layers.at(-1);
    else if (name === path) return await writeLayer(new TarReader(reader.content()), file, signal);
  }
  throw fault('ARCHIVE_INVALID', { reason: 'the export has no layer' });
}

const WHITEOUT = /(?:^|\/)\.wh\.(?!\.wh\.)(?<name>[^/]+)$/u;

async function writeLayer(layer: TarReader, file: string, signal: AbortSignal): Promise<WrittenLayer> {
  const files: string[] = [];
  const removed: string[] = [];
  async function* members(): AsyncGenerator<Uint8Array> {
    for (let entry = await layer.next(); entry !== undefined; entry = await layer.next()) {
      const path = `/${shown(entry.path)}`;
      if (WHITEOUT.test(path)) {
        removed.push(path.replace(WHITEOUT, '/$<name>'));
        continue;
      }
      if (entry.type !== 'directory') files.push(path);
      yield encodeHeader(entry);
      yield* layer.content();
      yield contentPadding(entry.size);
    }
    yield TAR_END;
  }
  await pipeline(Readable.from(members()), createWriteStream(file, { flags: 'wx' }), { signal });
  return { files, removed };
}

function shown(path: ByteString): string {
  return (textOf(path) ?? path).replace(/^\.?\//u, '').replace(/\/$/u, '');
}

async function manifestOf(reader: TarReader): Promise<DockerManifest> {
  const [manifest] = (await jsonOf(reader)) as DockerManifest[];
  if (manifest === undefined) throw fault('ARCHIVE_INVALID', { reason: 'the export has an empty manifest' });
  return manifest;
}

async function jsonOf(reader: TarReader): Promise<unknown> {
  return JSON.parse((await collect(reader.content(), limits.configBytesMax)).toString('utf8'));
}
