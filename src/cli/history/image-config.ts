import type { ConTree } from '../../contract/contree.ts';
import { fault } from '../../contract/errors.ts';
import { limits } from '../../contract/limits.ts';
import { collect, textOf } from '../../std/bytes.ts';
import { TarReader } from '../../tar/reader.ts';

/** Parts of the `manifest.json` of an export that are read here. */
interface DockerManifest {
  readonly Config: string;
}

/** Configuration of an exported image (OCI image-spec, config.md): what FROM passes on. */
export interface ExportedConfig {
  readonly Env?: readonly string[];
  readonly Cmd?: readonly string[];
  readonly Entrypoint?: readonly string[];
  readonly WorkingDir?: string;
  readonly User?: string;
  readonly Labels?: Readonly<Record<string, string>>;
  readonly ExposedPorts?: Readonly<Record<string, object>>;
  readonly Volumes?: Readonly<Record<string, object>>;
  readonly StopSignal?: string;
  readonly Healthcheck?: ExportedHealthcheck;
  readonly OnBuild?: readonly string[];
  readonly Shell?: readonly string[];
}

/** Durations in nanoseconds; 0 or none for the default. */
export interface ExportedHealthcheck {
  readonly Test: readonly string[];
  readonly Interval?: number;
  readonly Timeout?: number;
  readonly StartPeriod?: number;
  readonly StartInterval?: number;
  readonly Retries?: number;
}

/** Returns the configuration of an image. Reads its export only up to there. */
export async function configOf(contree: ConTree, image: string, signal: AbortSignal): Promise<ExportedConfig> {
  const chunks = (await contree.images.export(image, signal))[Symbol.asyncIterator]();
  try {
    return await configIn(new TarReader({ [Symbol.asyncIterator]: () => chunks }));
  } finally {
    // The server would wait for the reader of the rest.
    await chunks.return?.();
  }
}

async function configIn(reader: TarReader): Promise<ExportedConfig> {
  let path: string | undefined;
  for (let entry = await reader.next(); entry !== undefined; entry = await reader.next()) {
    const name = textOf(entry.path);
    if (name === 'manifest.json') path = (await manifestOf(reader)).Config;
    else if (name === path) return ((await jsonOf(reader)) as { config?: ExportedConfig }).config ?? {};
  }
  throw fault('ARCHIVE_INVALID', { reason: 'the export has no configuration' });
}

async function manifestOf(reader: TarReader): Promise<DockerManifest> {
  const [manifest] = (await jsonOf(reader)) as DockerManifest[];
  if (manifest === undefined) throw fault('ARCHIVE_INVALID', { reason: 'the export has an empty manifest' });
  return manifest;
}

async function jsonOf(reader: TarReader): Promise<unknown> {
  return JSON.parse((await collect(reader.content(), limits.configBytesMax)).toString('utf8'));
}
