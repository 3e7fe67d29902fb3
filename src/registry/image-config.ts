import { z } from 'zod';
import type { ImageConfig } from '../contract/image.ts';
import { isDigest, type Digest } from './digest.ts';
import { parseJson, type Refuse, unsupportedPlatform } from './manifest.ts';
import type { OciHistory } from './oci-image.ts';
import { present } from '../std/present.ts';
import { formatPlatform, isSamePlatform, normalPlatform, type Platform } from './platform.ts';

/** Config blob (image-spec, config.md), as far as an import needs it. */
const ConfigShape = z.object({
  os: z.unknown().optional(),
  architecture: z.unknown().optional(),
  variant: z.unknown().optional(),
  config: z.record(z.string(), z.unknown()).nullish().catch(undefined),
  rootfs: z.object({ diff_ids: z.array(z.string()) }),
  history: z.unknown().optional(),
  author: z.unknown().optional(),
});

/** Docker reads a string as a command of one word. */
const Command = z.union([z.array(z.string()), z.string().transform((word) => [word])]);
const User = z.union([z.string(), z.int().transform(String)]);
const Names = z.record(z.string(), z.unknown()).transform((table) => Object.keys(table).sort());
/** Durations above 2^53 ns (104 days) are not exact in JSON, and no check has them. */
const Nanoseconds = z.int().min(0).nullish();
const Check = z.object({
  Test: z.array(z.string()),
  Interval: Nanoseconds,
  Timeout: Nanoseconds,
  StartPeriod: Nanoseconds,
  StartInterval: Nanoseconds,
  Retries: Nanoseconds,
});
const Table = z.record(z.string(), z.unknown());
const List = z.array(z.unknown());
const Step = z.object({
  created: z.string().nullish(),
  created_by: z.string().nullish(),
  author: z.string().nullish(),
  comment: z.string().nullish(),
  empty_layer: z.boolean().nullish(),
});

export interface OciConfig {
  readonly platform: Platform;
  readonly config: ImageConfig;
  readonly diffIds: readonly Digest[];
  readonly history: readonly OciHistory[];
  /** Names of what the config has in a form that cannot be used. */
  readonly leftOut: readonly string[];
}

/**
 * Parses the config blob of an OCI image. Only its layers have to be in order: what builders write otherwise is not
 * executed here, so it never makes an image unimportable. Faults: those of `refuse`.
 */
export function parseConfig(bytes: Uint8Array, refuse: Refuse): OciConfig {
  const json = ConfigShape.safeParse(parseJson(bytes, refuse)).data;
  if (json === undefined) throw refuse('its image config is not understood');
  const diffIds = json.rootfs.diff_ids.filter((id) => isDigest(id));
  if (diffIds.length < json.rootfs.diff_ids.length) throw refuse('its image config names a layer by no sha256 digest');
  const parts = new Parts();
  const { Env, WorkingDir, User: user, Entrypoint, Cmd, Labels } = json.config ?? {};
  return {
    platform: normalPlatform({
      os: parts.read('os', z.string(), json.os) ?? '',
      architecture: parts.read('architecture', z.string(), json.architecture) ?? '',
      variant: parts.read('variant', z.string(), json.variant),
    }),
    config: {
      env: parts.env(Env),
      cwd: parts.read('WorkingDir', z.string(), WorkingDir) ?? '',
      user: parts.read('User', User, user) ?? '',
      entrypoint: parts.read('Entrypoint', Command, Entrypoint) ?? [],
      cmd: parts.read('Cmd', Command, Cmd) ?? [],
      labels: parts.labels(Labels),
      ...buildFields(parts, json.config ?? {}, json.author),
    },
    diffIds,
    history: (parts.read('history', z.array(Step), json.history) ?? []).map((step) => withoutNulls(step)),
    leftOut: parts.leftOut,
  };
}

/** Reads the fields that matter to builds; what an image does not state is absent. */
function buildFields(parts: Parts, config: Readonly<Record<string, unknown>>, author: unknown): Partial<ImageConfig> {
  const check = parts.read('Healthcheck', Check, config['Healthcheck']);
  const some = (names: string[] | undefined): string[] | undefined => (names?.length === 0 ? undefined : names);
  return present({
    exposed_ports: some(parts.read('ExposedPorts', Names, config['ExposedPorts'])),
    volumes: some(parts.read('Volumes', Names, config['Volumes'])),
    stop_signal: parts.read('StopSignal', z.string(), config['StopSignal']) || undefined,
    healthcheck:
      check &&
      present({
        test: check.Test,
        interval: check.Interval || undefined,
        timeout: check.Timeout || undefined,
        start_period: check.StartPeriod || undefined,
        start_interval: check.StartInterval || undefined,
        retries: check.Retries || undefined,
      }),
    onbuild: some(parts.read('OnBuild', z.array(z.string()), config['OnBuild'])),
    shell: some(parts.read('Shell', z.array(z.string()), config['Shell'])),
    author: parts.read('author', z.string(), author) || undefined,
  });
}

/** Reader of the parts of a config, each on its own. Go writes absent lists and maps as null. */
class Parts {
  readonly leftOut: string[] = [];

  read<Value>(name: string, shape: z.ZodType<Value>, value: unknown): Value | undefined {
    if (value === undefined || value === null) return undefined;
    const parsed = shape.safeParse(value);
    if (!parsed.success) this.leftOut.push(name);
    return parsed.data;
  }

  /** Reads `NAME=value` lines; a later one replaces an earlier one, and lines without a name are dropped. */
  env(value: unknown): Record<string, string> {
    const lines = this.read('Env', List, value) ?? [];
    const pairs = lines.map((line): [string, unknown] => {
      const equals = typeof line === 'string' ? line.indexOf('=') : -1;
      return typeof line === 'string' && equals > 0 ? [line.slice(0, equals), line.slice(equals + 1)] : ['', line];
    });
    return this.#texts('Env', pairs);
  }

  labels(value: unknown): Record<string, string> {
    return this.#texts('Labels', Object.entries(this.read('Labels', Table, value) ?? {}));
  }

  #texts(name: string, pairs: readonly (readonly [string, unknown])[]): Record<string, string> {
    const usable = pairs.filter((pair): pair is [string, string] => pair[0] !== '' && typeof pair[1] === 'string');
    if (usable.length < pairs.length) this.leftOut.push(`${pairs.length - usable.length} of ${name}`);
    return Object.fromEntries(usable);
  }
}

/**
 * Refuses an image for another architecture or system. What a config does not state (some tools omit it) is accepted.
 * Faults: PLATFORM_UNSUPPORTED.
 */
export function checkPlatform({ platform }: OciConfig, wanted: Platform, reference: string): void {
  const stated = { os: platform.os || wanted.os, architecture: platform.architecture || wanted.architecture };
  if (!isSamePlatform(stated, wanted)) throw unsupportedPlatform(reference, wanted, formatPlatform(platform));
}

function withoutNulls(step: Readonly<Record<string, string | boolean | null | undefined>>): OciHistory {
  return Object.fromEntries(Object.entries(step).filter(([, value]) => value !== null && value !== undefined));
}
