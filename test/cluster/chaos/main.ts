import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { NetworkedCluster, type NetworkedNode } from '../support/networked.ts';
import type { Fault } from '../support/fault-proxy.ts';
import { Faults } from './faults.ts';
import { Load } from './load.ts';
import { judge } from './oracle.ts';
import { Random } from '../../support/random.ts';

const NODES = ['a', 'b', 'c', 'd'];
const CLIENTS = 8;
const SHOWN_MAX = 50;

/**
 * `npm run test:cluster -- chaos [MINUTES] [SEED]`: clients of four nodes, while nodes, PostgreSQL, the object storage and the
 * links between them fail at random. Afterwards nothing that was acknowledged may be lost, and nothing be published twice.
 */
export async function chaos(minutes: number, seed: number): Promise<boolean> {
  say(`chaos for ${minutes} minutes, seed ${seed}`);
  await using cluster = await NetworkedCluster.open();
  await using proxy = await openProxy(cluster);
  const nodes: NetworkedNode[] = [];
  for (const name of NODES) nodes.push(await cluster.join(name, { objectsUrl: proxy.url }));
  const load = new Load(nodes, await nodes[0]!.addRoot(), new Random(seed));
  const faults = new Faults({ cluster, nodes, storageFault: proxy.set }, new Random(seed + 1));
  const over = AbortSignal.timeout(minutes * 60_000);
  const loading = load.run(CLIENTS, over);
  await faults.run(over);
  await loading;
  await using database = cluster.connect();
  const { violations, ends } = await judge({
    database,
    nodes,
    objectsFolder: join(cluster.objects.folder, 'cluster'),
    told: load.told,
  });
  violations.push(...nodes.flatMap(({ crashes }) => crashes));
  const { accepted, images, tags, refused } = load.told;
  say(`${faults.total} faults: ${shown(faults.counts)}`);
  say(`${accepted.size} runs accepted, ${images.size} seen to succeed, ${tags.size} tags set`);
  say(`ends of runs: ${shown(ends)}`);
  say(`requests without an answer: ${shown(refused)}`);
  say(`${violations.length} violations`);
  for (const violation of violations.slice(0, SHOWN_MAX)) say(`  ${violation}`);
  if (violations.length > 0) say(faults.history.join('\n'));
  return violations.length === 0;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

function shown(counts: ReadonlyMap<string, number>): string {
  return [...counts].map(([name, count]) => `${name} ${count}`).join(', ');
}

interface Proxy extends AsyncDisposable {
  readonly url: string;
  readonly set: (fault: Fault) => void;
}

/** Starts a proxy before the object storage, on its host. */
async function openProxy({ objects, objectsHost }: NetworkedCluster): Promise<Proxy> {
  const program = join(import.meta.dirname, '../support/fault-proxy-process.ts');
  const own = [program, objectsHost.address, String(objects.port)];
  const [command, args] = objectsHost.command(process.execPath, own);
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const [said] = (await once(child.stdout, 'data')) as [Buffer];
  return {
    url: objects.address('cluster', Number(said.toString())),
    set: (fault) => child.stdin.write(`${JSON.stringify(fault)}\n`),
    [Symbol.asyncDispose]: async () => {
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    },
  };
}
