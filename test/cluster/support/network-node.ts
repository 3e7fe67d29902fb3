import { openObjects } from '../../../src/cluster/objects/open.ts';
import { openTestNode, type TestNodePlace } from './test-node.ts';

/** Arguments of a node on a host of a test's network, as JSON. */
export interface NetworkNodeArguments extends Omit<TestNodePlace, 'objects'> {
  readonly objectsUrl: string;
  readonly works: boolean;
  readonly leaseMs: number;
}

/** Few and short, so that a fault of the object storage ends within a test. */
const RETRIES = { attempts: 3, pauseMs: 50, pauseMsMax: 500, idleMs: 3_000 };

const { objectsUrl, works, leaseMs, ...place } = JSON.parse(process.argv[2] ?? '{}') as NetworkNodeArguments;
const objects = await openObjects(objectsUrl, RETRIES);
const { node } = await openTestNode({ ...place, objects }, { works, leaseMs });
process.stdout.write('ready\n');
process.once('SIGTERM', () => void node[Symbol.asyncDispose]().then(() => process.exit(0)));
