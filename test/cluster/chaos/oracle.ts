import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { ClusterDatabase } from '../../../src/cluster/catalogue/database.ts';
import { storedKey } from '../../../src/cluster/catalogue/objects.ts';
import { inParallel } from '../../../src/std/abort.ts';
import type { NetworkedNode } from '../support/networked.ts';
import { contentOf, type Told } from './load.ts';

const AT_ONCE = 4;
/** Time in which a cluster without faults has ended everything that it had accepted. */
const SETTLE_MS = 120_000;

/** A cluster that has recovered, and the answers that its clients got. */
export interface Judged {
  readonly database: ClusterDatabase;
  readonly nodes: readonly NetworkedNode[];
  /** Folder whose files are the objects of the cluster. */
  readonly objectsFolder: string;
  readonly told: Told;
}

interface OperationRow {
  readonly uuid: string;
  readonly status: string;
  readonly error_code: string | null;
  readonly result_image: string | null;
  readonly images: number;
}

/** Returns what a cluster that has recovered lost, published twice, or shows differently than it was told. */
export async function judge(
  judged: Judged,
): Promise<{ readonly violations: string[]; readonly ends: Map<string, number> }> {
  const violations = [...judged.told.violations];
  if (!(await settled(judged.database))) violations.push('operations do not end');
  const rows = await operations(judged.database);
  const ends = new Map<string, number>();
  for (const { status, error_code: code } of rows.values()) {
    const end = code ?? status;
    ends.set(end, (ends.get(end) ?? 0) + 1);
  }
  violations.push(...publications(judged, rows), ...(await tags(judged)), ...(await objects(judged)));
  violations.push(...(await contents(judged, rows)));
  return { violations, ends };
}

async function settled(database: ClusterDatabase): Promise<boolean> {
  const startedMs = performance.now();
  while (performance.now() - startedMs < SETTLE_MS) {
    if ((await database.rows('SELECT 1 FROM operations WHERE finished_at IS NULL LIMIT 1')).length === 0) return true;
    // Between two looks.
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  return false;
}

async function operations(database: ClusterDatabase): Promise<Map<string, OperationRow>> {
  const rows = await database.rows<OperationRow>(
    `SELECT uuid, status, error_code, result_image, (SELECT count(*)::integer FROM images WHERE operation = o.uuid) AS images
       FROM operations o WHERE kind = 'instance'`,
  );
  return new Map(rows.map((row) => [row.uuid, row]));
}

/** Checks that all that was acknowledged is there, and that an operation has published once, or never if it failed. */
function publications({ told }: Judged, rows: ReadonlyMap<string, OperationRow>): string[] {
  const found: string[] = [];
  for (const uuid of told.accepted.keys()) if (!rows.has(uuid)) found.push(`lost: the accepted operation ${uuid}`);
  for (const [uuid, image] of told.images) {
    const row = rows.get(uuid);
    if (row?.status !== 'SUCCESS' || row.result_image !== image) {
      found.push(`lost: ${uuid} was said to have made ${image}, and is ${JSON.stringify(row)}`);
    }
  }
  for (const { uuid, status, images } of rows.values()) {
    const expected = status === 'SUCCESS' ? 1 : 0;
    if (images !== expected) found.push(`published ${images} times: ${uuid}, which is ${status}`);
  }
  return found;
}

async function tags({ database, told }: Judged): Promise<string[]> {
  const rows = await database.rows<{ name: string; image: string }>('SELECT name, image FROM tags');
  const known = new Map(rows.map(({ name, image }) => [name, image]));
  return [...told.tags].filter(([tag, image]) => known.get(tag) !== image).map(([tag]) => `lost: the tag ${tag}`);
}

/** Every layer of an image is in the object storage, with the content that its name says. */
async function objects({ database, objectsFolder }: Judged): Promise<string[]> {
  const found: string[] = [];
  const rows = await database.rows<{ digest: string; key: string; generation: string }>(
    `SELECT digest, key, generation FROM layers JOIN objects ON key = object
      WHERE EXISTS (SELECT FROM image_layers WHERE layer = digest)`,
  );
  for (const { digest, key, generation } of rows) {
    const hash = createHash('sha256');
    try {
      await pipeline(createReadStream(join(objectsFolder, storedKey(key, generation))), hash);
      if (hash.digest('hex') !== digest) found.push(`damaged: the object of layer ${digest}`);
    } catch {
      found.push(`lost: the object of layer ${digest}`);
    }
  }
  return found;
}

/** Every image has, on every node, what its run has written. Each result is read by one node, some by all. */
async function contents({ nodes, told }: Judged, rows: ReadonlyMap<string, OperationRow>): Promise<string[]> {
  const found: string[] = [];
  const made = [...told.accepted].flatMap(([uuid, token], index) => {
    const image = rows.get(uuid)?.result_image;
    return typeof image === 'string' ? [{ uuid, token, image, index }] : [];
  });
  const never = new AbortController().signal;
  await inParallel(made, { atOnce: AT_ONCE, signal: never }, async ({ uuid, token, image, index }) => {
    const readers = index % 20 === 0 ? nodes : [nodes[index % nodes.length]!];
    for (const node of readers) {
      const content = await contentOf(node, image).catch((error: Error) => error.message);
      if (content !== token) found.push(`${node.name} reads ${content} in ${image} of ${uuid}, not ${token}`);
      const shown = await node.contree.operations.get(uuid);
      if (shown.result?.image !== image)
        found.push(`${node.name} shows ${shown.result?.image} for ${uuid}, not ${image}`);
    }
  });
  return found;
}
