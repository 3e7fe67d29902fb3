import { availableParallelism } from 'node:os';
import { soak } from '../scripts/soak.ts';
import { sampleOf } from './support/measure.ts';
import type { Place } from './support/place.ts';
import type { Report } from './support/report.ts';

const BOOTS = 200;
/** Number of boots that hung and were detected. */
const RETRIES_MAX = 0.01;

/** Measures 200 boots of the template and 200 restores while other processes use every core: about twenty minutes. */
export async function benchSoak(_place: Place, report: Report): Promise<void> {
  report.section('Soak');
  const result = await soak({ boots: BOOTS, restores: BOOTS, load: availableParallelism(), log: () => undefined });
  const boots = sampleOf(result.bootMs);
  const restores = sampleOf(result.restoreMs);
  report.add({
    what: `${BOOTS} template boots under CPU load: boots that hung for good`,
    value: result.bootsFailed,
    unit: '',
    budget: { atMost: 0 },
    note: `median ${boots.medianMs.toFixed(0)} ms, longest ${boots.maxMs.toFixed(0)} ms`,
  });
  report.add({
    what: 'of them, those that hung, were noticed and tried again',
    value: (100 * result.retries) / BOOTS,
    unit: '%',
    budget: { atMost: 100 * RETRIES_MAX },
  });
  report.add({
    what: `${BOOTS} restores under CPU load: failed`,
    value: result.restoresFailed,
    unit: '',
    budget: { atMost: 0 },
    note: `median ${restores.medianMs.toFixed(0)} ms, longest ${restores.maxMs.toFixed(0)} ms`,
  });
}
