import { parseArgs } from 'node:util';
import { benchAnswers } from './answers.ts';
import { benchBuilds } from './builds.ts';
import { benchCluster } from './cluster/cluster.ts';
import { benchClusterScale } from './cluster/scale.ts';
import { benchDepth } from './depth.ts';
import { benchEndurance } from './endurance.ts';
import { benchGvisor } from './gvisor.ts';
import { benchImages } from './images.ts';
import { benchImport } from './import.ts';
import { benchInstances } from './instances.ts';
import { benchLive } from './live.ts';
import { benchLoad, benchLongLoad } from './load.ts';
import { benchNetwork } from './network.ts';
import { benchRuns } from './runs.ts';
import { benchServers } from './servers.ts';
import { benchSoak } from './soak.ts';
import { openPlace, type Place } from './support/place.ts';
import { Report } from './support/report.ts';
import { benchTransfer } from './transfer.ts';
import { benchWaiting } from './waiting.ts';

/**
 * `npm run bench [-- runs gvisor builds live instances network images servers answers depth transfer waiting load cluster]`:
 * measures the budgets of the design, alongside the tools that we compare with.
 */
const SECTIONS: Readonly<Record<string, (place: Place, report: Report) => Promise<void>>> = {
  runs: benchRuns,
  gvisor: benchGvisor,
  builds: benchBuilds,
  live: benchLive,
  instances: benchInstances,
  network: benchNetwork,
  import: benchImport,
  images: benchImages,
  servers: benchServers,
  answers: benchAnswers,
  depth: benchDepth,
  transfer: benchTransfer,
  waiting: benchWaiting,
  load: benchLoad,
  cluster: benchCluster,
};

/** Sections that take minutes and run only when named. */
const LONG: typeof SECTIONS = {
  soak: benchSoak,
  endurance: benchEndurance,
  'long-load': benchLongLoad,
  'cluster-scale': benchClusterScale,
};

const { positionals } = parseArgs({ allowPositionals: true });
const report = new Report();
await using place = await openPlace();
console.log(`Accelerator: ${place.accelerator}. Medians; ratios are measured side by side in this run.`);
for (const [name, section] of Object.entries({ ...SECTIONS, ...LONG })) {
  if (positionals.length === 0 ? name in SECTIONS : positionals.includes(name)) await section(place, report);
}
const missed = report.missed();
console.log(`\n${report.rows.length} figures, ${missed.length} budgets missed.`);
