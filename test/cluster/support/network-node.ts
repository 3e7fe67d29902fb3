import { openObjects } from '../../../src/cluster/objects/open.ts';
import { setClockWrong } from './clock.ts';
import { openTestNode, type TestNodePlace } from './test-node.ts';

/** Arguments of a node on a host of a test's network, as JSON. */
export interface NetworkNodeArguments extends Omit<TestNodePlace, 'objects'> {
  readonly objectsUrl: string;
  readonly works: boolean;
  readonly leaseMs: number;
  /** Error of its clock. */
  readonly clockErrorMs?: number;
}

/** Few and short, so that a fault of the object storage ends within a test. */
const RETRIES = { attempts: 3, pauseMs: 50, pauseMsMax: 500, idleMs: 3_000 };

const given = JSON.parse(process.argv[2] ?? '{}') as NetworkNodeArguments;
const { objectsUrl, works, leaseMs, clockErrorMs = 0, ...place } = given;
setClockWrong(clockErrorMs);
try {
  const objects = await openObjects(objectsUrl, RETRIES);
  const { node } = await openTestNode({ ...place, objects }, { works, leaseMs });
  process.stdout.write('ready\n');
  process.once('SIGTERM', () => void node[Symbol.asyncDispose]().then(() => process.exit(0)));
} catch (error) {
  process.stderr.write(`the node ${place.name} does not start: ${(error as Error).message}\n`);
  process.exit(1);
}
