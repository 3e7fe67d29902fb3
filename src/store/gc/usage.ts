import type { GcReport } from '../../contract/server.ts';
import type { Database } from '../database.ts';

/** Key prefix of layers with the content of cache mounts: injected ones, which are kept while they are used. */
export const CACHE_MOUNT = 'files:cache:';

/** Layers listed individually; the rest is summed. */
const LAYERS_NAMED = 10;

interface LayerUse {
  readonly digest: string;
  readonly bytes: number;
  readonly images: number;
  readonly tag: string | null;
}

const FILE_BYTES = 'SELECT coalesce(sum(size), 0) AS bytes FROM (SELECT DISTINCT sha256, size FROM files)';
const CACHES = `SELECT layer FROM layer_sources WHERE source LIKE '${CACHE_MOUNT}%'`;
const CACHE_BYTES = `SELECT coalesce(sum(bytes), 0) AS bytes FROM layers WHERE digest IN (${CACHES})`;
const OUTPUT_BYTES = 'SELECT coalesce(sum(length(bytes)), 0) AS bytes FROM events';
const LAYER_BYTES = 'SELECT coalesce(sum(bytes), 0) AS bytes FROM layers';

function sum(database: Database, sql: string): number {
  return database.get<{ bytes: number }>(sql)?.bytes ?? 0;
}

/** Returns the bytes of all layers, uploads and output. */
export function storeBytes(database: Database): number {
  return [LAYER_BYTES, FILE_BYTES, OUTPUT_BYTES].reduce((total, sql) => total + sum(database, sql), 0);
}

/** Returns what uses space in the data directory, largest first. */
export function spaceUsage(database: Database): GcReport['usage'] {
  const layers = database.all<LayerUse>(
    `SELECT digest, bytes, (SELECT count(*) FROM image_layers WHERE layer = digest) AS images,
       (SELECT name FROM tags JOIN image_layers USING (image) WHERE layer = digest ORDER BY tags.id DESC LIMIT 1) AS tag
     FROM layers WHERE digest NOT IN (${CACHES}) ORDER BY bytes DESC`,
  );
  const named = layers.slice(0, LAYERS_NAMED).map((layer) => ({ what: nameOf(layer), bytes: layer.bytes }));
  const others = layers.slice(LAYERS_NAMED);
  return [
    ...named,
    { what: `${others.length} smaller layers`, bytes: others.reduce((total, { bytes }) => total + bytes, 0) },
    { what: 'cache mounts of builds', bytes: sum(database, CACHE_BYTES) },
    { what: 'uploaded files', bytes: sum(database, FILE_BYTES) },
    { what: 'output of operations', bytes: sum(database, OUTPUT_BYTES) },
  ]
    .filter(({ bytes }) => bytes > 0)
    .sort((left, right) => right.bytes - left.bytes);
}

function nameOf({ digest, images, tag }: LayerUse): string {
  const users = `${images} image${images === 1 ? '' : 's'}`;
  return `layer ${digest.slice(0, 12)} of ${users}${tag === null ? '' : `, for example ${tag}`}`;
}
