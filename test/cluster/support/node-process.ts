import type { Catalogue } from '../../../src/engine/node/catalogue.ts';
import { setClockWrong } from './clock.ts';
import { FolderObjects } from './folder-objects.ts';
import { openTestNode } from './test-node.ts';

/** Moment of an operation at which a node dies. */
export type DeathStep = 'claimed' | 'begun' | 'storing' | 'stored' | 'publishing' | 'published';

/** Arguments of a node in a process of its own, as JSON. */
export interface NodeProcessArguments {
  readonly databaseUrl: string;
  readonly objectsFolder: string;
  readonly dataDir: string;
  readonly name: string;
  /** Moment at which it kills itself, as a power failure does. */
  readonly dies?: DeathStep;
  /** Error of its clock. */
  readonly clockErrorMs?: number;
}

const { clockErrorMs = 0, objectsFolder, dies, ...place } = JSON.parse(process.argv[2] ?? '{}') as NodeProcessArguments;

setClockWrong(clockErrorMs);

function dieAt(step: DeathStep): void {
  if (step === dies) process.kill(process.pid, 'SIGKILL');
}

/** Object storage during whose use the node dies. */
class DeadlyObjects extends FolderObjects {
  override async put(object: Parameters<FolderObjects['put']>[0]): Promise<void> {
    dieAt('storing');
    await super.put(object);
    dieAt('stored');
  }
}

function deadly(catalogue: Catalogue): Catalogue {
  return {
    begin: async (...given) => {
      dieAt('claimed');
      await catalogue.begin(...given);
      dieAt('begun');
    },
    publish: async (...given) => {
      dieAt('publishing');
      const published = await catalogue.publish(...given);
      dieAt('published');
      return published;
    },
    resolve: (...given) => catalogue.resolve(...given),
  };
}

const objects = new DeadlyObjects(objectsFolder);
const { node } = await openTestNode({ ...place, objects }, { wrap: deadly });
process.stdout.write('ready\n');
process.once('SIGTERM', () => void node[Symbol.asyncDispose]().then(() => process.exit(0)));
