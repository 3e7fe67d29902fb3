import type { GcReport } from '../contract/contree.ts';
import type { Database } from './database.ts';

/** Layers named one by one; the rest is a sum. */
const LAYERS_NAMED = 10;

interface LayerUse {
  readonly digest: string;
  readonly bytes: number;
  readonly images: number;
  readonly tag: string | null;
}

/** What uses space in the data directory, largest first. */
export function spaceUsage(database: Database): GcReport['usage'] {
  const layers = database.all<LayerUse>(
    `SELECT digest, bytes, (SELECT count(*) FROM image_layers WHERE layer = digest) AS images,
       (SELECT name FROM tags JOIN image_layers USING (image) WHERE layer = digest ORDER BY tags.id DESC LIMIT 1) AS tag
     FROM layers ORDER BY bytes DESC`,
  );
  const named = layers.slice(0, LAYERS_NAMED).map((layer) => ({ what: nameOf(layer), bytes: layer.bytes }));
  const others = layers.slice(LAYERS_NAMED);
  const sum = (sql: string): number => database.get<{ bytes: number }>(sql)?.bytes ?? 0;
  return [
    ...named,
    { what: `${others.length} smaller layers`, bytes: others.reduce((total, { bytes }) => total + bytes, 0) },
    {
      what: 'uploaded files',
      bytes: sum('SELECT coalesce(sum(size), 0) AS bytes FROM (SELECT DISTINCT sha256, size FROM files)'),
    },
    { what: 'output of operations', bytes: sum('SELECT coalesce(sum(length(bytes)), 0) AS bytes FROM events') },
  ]
    .filter(({ bytes }) => bytes > 0)
    .sort((left, right) => right.bytes - left.bytes);
}

function nameOf({ digest, images, tag }: LayerUse): string {
  const users = `${images} image${images === 1 ? '' : 's'}`;
  return `layer ${digest.slice(0, 12)} of ${users}${tag === null ? '' : `, for example ${tag}`}`;
}
