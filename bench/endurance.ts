import { setTimeout as delay } from 'node:timers/promises';
import type { EngineUse, Place } from './support/place.ts';
import type { Report } from './support/report.ts';
import { saveMany } from './runs.ts';

const RUNS = 1_000;
/** After these runs caches are full and code is compiled: memory used then must not grow. */
const SETTLED = 100;
/** Waits until an idle engine has returned unused memory. */
const REST_MS = 3_000;

/** Measures 1,000 consecutive runs, some ten minutes emulated, then a large commit. */
export async function benchEndurance(place: Place, report: Report): Promise<void> {
  report.section('Endurance');
  const repeat = async (count: number): Promise<EngineUse> => {
    for (let index = 0; index < count; index += 1) {
      const { status } = await place.run({ command: '/bin/true', disposable: true });
      if (status !== 'SUCCESS') throw new Error(`run ${index} ended as ${status}`);
    }
    return place.engine();
  };
  const before = await repeat(SETTLED);
  const after = await repeat(RUNS);
  const what = `${RUNS} runs one after the other: growth of`;
  const kibEach = ((after.diskBytes - before.diskBytes) / 1024 / RUNS).toFixed(1);
  report.add({
    what: `${what} memory`,
    value: after.memoryMib - before.memoryMib,
    unit: 'MiB',
    budget: { atMost: 16 },
    note: `${before.memoryMib.toFixed(0)} MiB after ${SETTLED} runs, ${after.memoryMib.toFixed(0)} MiB after ${RUNS} more`,
  });
  report.add({
    what: `${what} open descriptors`,
    value: after.descriptors - before.descriptors,
    unit: '',
    budget: { atMost: 0 },
  });
  report.add({
    what: `${what} the data directory without its database`,
    value: (after.diskBytes - after.databaseBytes - (before.diskBytes - before.databaseBytes)) / 1024,
    unit: 'KiB',
    budget: { atMost: 1024 },
    note: `with the operations and events that the database keeps, ${kibEach} KiB a run`,
  });
  await saveMany(place);
  const working = await place.engine();
  await delay(REST_MS);
  report.add({
    what: `engine memory with ${RUNS + SETTLED} finished operations, at rest`,
    value: (await place.engine()).memoryMib,
    unit: 'MiB',
    budget: { atMost: 200 },
    note: `${working.memoryMib.toFixed(0)} MiB right after 200 MB were saved`,
  });
}
