import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../support/random.ts';
import { Postgres } from './support/postgres.ts';
import { skewedProjects } from './support/simulated-load.ts';
import { Simulation } from './support/simulation.ts';

const SEED = 17;
const NODES = 50;
/** Projects without a backlog. */
const isLate = (project: number): boolean => project >= 8;

test('2,000 operations of ten projects on 50 nodes: equal turns, nobody starves, and runs go where their images are', async () => {
  await using postgres = await Postgres.open();
  const load = { count: 2_000, images: 120, runMs: 4_000, lateMs: 15_000 };
  const projects = skewedProjects(load, new Random(SEED));
  const terms = { seed: SEED, nodes: NODES, places: 4, imagesHeld: 12, projects, tells: true };
  await using simulation = await Simulation.open(postgres, terms);
  const { operations, ...outcome } = await simulation.run();
  assert.ok(outcome.claimFairness.length > 2);
  for (const fairness of outcome.claimFairness) assert.ok(fairness > 0.95, `Jain's index of turns is ${fairness}`);
  assert.ok(outcome.overtakenMs > 0, 'a later one goes first where its image is');
  assert.ok(outcome.overtakenMs <= 2_000, `but not before one that is ${outcome.overtakenMs} ms older`);
  // Places are full from the beginning on, so those that come then wait for one, and at most for their image.
  const late = operations.filter(({ project, acceptedMs }) => isLate(project) && acceptedMs > 5_000);
  assert.ok(late.length > 5);
  for (const { acceptedMs, claimedMs } of late)
    assert.ok(claimedMs - acceptedMs <= 1_000, `one that came late waited ${claimedMs - acceptedMs} ms`);
  const { hitRate, chanceRate } = outcome;
  assert.ok(hitRate > 3 * chanceRate, `${hitRate} of the runs found their image, ${chanceRate} would by chance`);
});
