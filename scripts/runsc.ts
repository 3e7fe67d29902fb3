import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { provideRunsc, RUNSC_PINS } from './guest/runsc.ts';

/**
 * Part of scripts/setup: makes sure that there is a runsc (gVisor), in PATH or in guest/dist. Never fails. With --own one in
 * PATH does not count, as for the npm package, which others install. With --quick none is built whose
 * sources have to be downloaded first.
 */
const { values } = parseArgs({
  options: { own: { type: 'boolean', default: false }, quick: { type: 'boolean', default: false } },
});
await provideRunsc({
  folder: join(import.meta.dirname, '../guest/dist'),
  pins: RUNSC_PINS,
  systemAllowed: !values.own,
  buildAllowed: !values.quick,
  say: (line) => console.log(`runsc: ${line}`),
});
