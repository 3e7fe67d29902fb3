import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { run } from './engine/bench.ts';
import { serveBench } from './support/servers/served-engine.ts';

/** Metrics of a cluster, which test/cluster/serve.test.ts reads. */
const CLUSTER = ['contree_cluster_queue', 'contree_cluster_nodes'];

test('the dashboard and the alerts read metrics that exist', async () => {
  await using served = await serveBench({ quota: { storage_bytes: 10 ** 9 } });
  await run(served.bench.engine, { command: 'true', image: served.bench.base.uuid });
  await served.owner.send('GET', '/v1/whoami');
  const { text } = await served.owner.send('GET', '/metrics');
  const series = new Set([...CLUSTER, ...[...text.matchAll(/^(contree_\w+)/gmu)].map(([, name]) => name)]);
  for (const file of ['contree.json', 'alerts.yaml']) {
    const source = readFileSync(new URL(`../deploy/grafana/${file}`, import.meta.url), 'utf8');
    const read = [...source.matchAll(/\b(contree_\w+)/gu)].map(([, name]) => name);
    assert.ok(read.length > 5, file);
    assert.deepEqual(
      read.filter((name) => !series.has(name)),
      [],
      file,
    );
  }
});
