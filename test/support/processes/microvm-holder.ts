import { openMicrovmDriver } from '../../../src/sandbox/microvm/driver.ts';
import { bootSpec, GUEST_DIR } from '../microvm.ts';

/** A process to be killed: `microvm-holder.ts <stateDir> <layer path> <layer bytes>` boots microVMs until its end. */
const [stateDir = '', path = '', bytes = ''] = process.argv.slice(2);
const driver = await openMicrovmDriver({ stateDir, guestDir: GUEST_DIR, accelerator: 'auto', log: () => {} });
const layers = [{ path, bytes: Number(bytes) }];
for (;;) {
  const instance = await driver.start(bootSpec(layers), AbortSignal.timeout(60_000));
  process.stdout.write('booted\n');
  await instance[Symbol.asyncDispose]();
}
