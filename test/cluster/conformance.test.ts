import { after, before } from 'node:test';
import { testContree, type ContreeUnderTest } from '../conformance/contree.ts';
import { TestCluster } from './support/bench.ts';
import { Postgres } from './support/postgres.ts';

let postgres: Postgres;
before(async () => {
  postgres = await Postgres.open();
});
after(() => postgres[Symbol.asyncDispose]());

testContree('a cluster of one node', async (): Promise<ContreeUnderTest> => {
  const cluster = await TestCluster.open(await postgres.database());
  const node = await cluster.join('one');
  const contree = node.node.forTenant({ project: 'default', isOwner: true });
  return {
    contree,
    base: await cluster.addRoot(),
    [Symbol.asyncDispose]: () => cluster[Symbol.asyncDispose](),
  };
});

testContree('the node of a cluster that does not run it', async (): Promise<ContreeUnderTest> => {
  const cluster = await TestCluster.open(await postgres.database());
  const asked = await cluster.join('asked', { works: false });
  await cluster.join('works');
  const contree = asked.node.forTenant({ project: 'default', token: 'a', limits: { instance_max_concurrency: 50 } });
  return {
    contree,
    base: await cluster.addRoot(),
    [Symbol.asyncDispose]: () => cluster[Symbol.asyncDispose](),
  };
});
