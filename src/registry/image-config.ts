import { z } from 'zod';
import type { ImageConfig } from '../contract/image.ts';
import { isDigest, type Digest } from './digest.ts';
import { parseJson, type Refuse, unsupportedPlatform } from './manifest.ts';
import type { OciHistory } from './oci-image.ts';
import { formatPlatform, isSamePlatform, type Platform } from './platform.ts';

const texts = z.array(z.string()).nullish();

/** Config blob (image-spec, config.md). Go writes absent lists and maps as null. */
const ConfigShape = z.object({
  os: z.string().nullish(),
  architecture: z.string().nullish(),
  variant: z.string().nullish(),
  config: z
    .object({
      Env: texts,
      WorkingDir: z.string().nullish(),
      User: z.string().nullish(),
      Entrypoint: texts,
      Cmd: texts,
      Labels: z.record(z.string(), z.string()).nullish(),
    })
    .nullish(),
  rootfs: z.object({ type: z.literal('layers'), diff_ids: z.array(z.string()) }),
  history: z
    .array(
      z.object({
        created: z.string().nullish(),
        created_by: z.string().nullish(),
        author: z.string().nullish(),
        comment: z.string().nullish(),
        empty_layer: z.boolean().nullish(),
      }),
    )
    .nullish(),
});

export interface OciConfig {
  readonly platform: Platform;
  readonly config: ImageConfig;
  readonly diffIds: readonly Digest[];
  readonly history: readonly OciHistory[];
}

/** Parses the config blob of an OCI image. Faults: those of `refuse`. */
export function parseConfig(bytes: Uint8Array, refuse: Refuse): OciConfig {
  const json = ConfigShape.safeParse(parseJson(bytes, refuse)).data;
  if (json === undefined) throw refuse('its image config is not understood');
  const { os, architecture, variant, config, rootfs, history } = json;
  const diffIds = rootfs.diff_ids.filter((id) => isDigest(id));
  if (diffIds.length < rootfs.diff_ids.length) throw refuse('its image config names a layer by no sha256 digest');
  return {
    platform: { os: os ?? '', architecture: architecture ?? '', variant: variant ?? undefined },
    config: {
      env: parseEnv(config?.Env ?? []),
      cwd: config?.WorkingDir ?? '',
      user: config?.User ?? '',
      entrypoint: config?.Entrypoint ?? [],
      cmd: config?.Cmd ?? [],
      labels: config?.Labels ?? {},
    },
    diffIds,
    history: (history ?? []).map((step) => withoutNulls(step)),
  };
}

/**
 * Refuses an image for another architecture or system. A config without a platform (some tools omit it) is accepted.
 * Faults: PLATFORM_UNSUPPORTED.
 */
export function checkPlatform({ platform }: OciConfig, wanted: Platform, reference: string): void {
  const silent = platform.os === '' && platform.architecture === '';
  if (!silent && !isSamePlatform(platform, wanted)) {
    throw unsupportedPlatform(reference, wanted, formatPlatform(platform));
  }
}

/** Parses `NAME=value` lines; a later one replaces an earlier one, and lines without a name are dropped. */
function parseEnv(lines: readonly string[]): Record<string, string> {
  const pairs = lines.map((line): [string, string] => {
    const equals = line.indexOf('=');
    return equals < 0 ? ['', ''] : [line.slice(0, equals), line.slice(equals + 1)];
  });
  return Object.fromEntries(pairs.filter(([name]) => name !== ''));
}

function withoutNulls(step: Readonly<Record<string, string | boolean | null | undefined>>): OciHistory {
  return Object.fromEntries(Object.entries(step).filter(([, value]) => value !== null && value !== undefined));
}
