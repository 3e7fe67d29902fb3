import type { Healthcheck, ImageConfig } from '../../contract/image.ts';
import { type Digest, digestOf } from '../../registry/digest.ts';
import { OCI_CONFIG, OCI_INDEX, OCI_MANIFEST } from '../../registry/media-types.ts';
import { hostPlatform } from '../../registry/platform.ts';

/** One image in the lineage of the exported one. */
export interface ExportStep {
  readonly uuid: string;
  /** ISO 8601. */
  readonly createdAt: string;
  /** Command of the run; null for an import. */
  readonly command: string | null;
}

/** Facts of the image that go into the OCI image. */
export interface ExportFacts {
  readonly uuid: string;
  readonly config: ImageConfig;
  /** Root image first, the exported image last; kept as the OCI image's history. */
  readonly lineage?: readonly ExportStep[];
}

/** Small blob that is held in memory. */
export interface MemoryBlob {
  readonly digest: Digest;
  readonly bytes: Buffer;
}

/** Layer as in the manifest, with its diffID. */
export interface ExportedLayer {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly bytes: number;
  readonly diffId: Digest;
}

/** Returns the config blob (image-spec, config.md). Equal images give equal bytes. */
export function encodeConfig(facts: ExportFacts, layers: readonly ExportedLayer[]): MemoryBlob {
  const { env, cwd, user, entrypoint, cmd, labels, ...more } = facts.config;
  const { lineage = [] } = facts;
  // JSON leaves out what is undefined.
  return memoryBlob({
    created: lineage.at(-1)?.createdAt,
    author: more.author,
    ...hostPlatform(),
    config: {
      User: user || undefined,
      Env: Object.entries(env).map(([name, value]) => `${name}=${value}`),
      Entrypoint: entrypoint.length === 0 ? undefined : entrypoint,
      Cmd: cmd.length === 0 ? undefined : cmd,
      WorkingDir: cwd || undefined,
      Labels: Object.keys(labels).length === 0 ? undefined : labels,
      ExposedPorts: setOf(more.exposed_ports),
      Volumes: setOf(more.volumes),
      StopSignal: more.stop_signal,
      Healthcheck: more.healthcheck && encodeHealthcheck(more.healthcheck),
      OnBuild: more.onbuild,
      Shell: more.shell,
    },
    rootfs: { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) },
    history: lineage.length === 0 ? undefined : historyOf(lineage, layers.length),
  });
}

/** Returns a set as Go writes it. */
function setOf(names: readonly string[] | undefined): object | undefined {
  return names && Object.fromEntries(names.map((name) => [name, {}]));
}

function encodeHealthcheck(check: Healthcheck): object {
  return {
    Test: check.test,
    Interval: check.interval,
    Timeout: check.timeout,
    StartPeriod: check.start_period,
    StartInterval: check.start_interval,
    Retries: check.retries,
  };
}

export function encodeManifest(config: MemoryBlob, layers: readonly ExportedLayer[]): MemoryBlob {
  return memoryBlob({
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    config: { mediaType: OCI_CONFIG, digest: config.digest, size: config.bytes.length },
    layers: layers.map(({ mediaType, digest, bytes }) => ({ mediaType, digest, size: bytes })),
  });
}

/** Returns the `index.json` of a layout with one image. */
export function encodeIndex(manifest: MemoryBlob, name: string): Buffer {
  const descriptor = {
    mediaType: OCI_MANIFEST,
    digest: manifest.digest,
    size: manifest.bytes.length,
    annotations: { 'org.opencontainers.image.ref.name': name },
    platform: hostPlatform(),
  };
  return memoryBlob({ schemaVersion: 2, mediaType: OCI_INDEX, manifests: [descriptor] }).bytes;
}

/**
 * Converts the lineage to a history, which must have one non-empty step per layer. Every image but the root made one
 * layer; the remaining layers belong to the root. Where layers have been merged, the oldest results count as empty.
 */
function historyOf(lineage: readonly ExportStep[], layers: number): object[] {
  const [root, ...results] = lineage;
  if (root === undefined) return [];
  const merged = Math.max(0, results.length + 1 - layers);
  const rootSteps = Array.from({ length: Math.max(1, layers - results.length) }, () => stepOf(root));
  return [...rootSteps, ...results.map((result, index) => stepOf(result, { empty: index < merged }))];
}

function stepOf({ uuid, createdAt, command }: ExportStep, { empty = false } = {}): object {
  return {
    created: createdAt,
    created_by: command ?? 'import',
    comment: `contree image ${uuid}`,
    empty_layer: empty || undefined,
  };
}

function memoryBlob(value: object): MemoryBlob {
  const bytes = Buffer.from(JSON.stringify(value));
  return { bytes, digest: digestOf(bytes) };
}
