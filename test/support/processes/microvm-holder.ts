import { spawnSync } from 'node:child_process';
import { openMicrovmDriver } from '../../../src/sandbox/microvm/driver.ts';
import { bootSpec, GUEST_DIR } from '../microvm.ts';

/**
 * A process to be killed: `microvm-holder.ts <stateDir> <layer path> <layer bytes> [<descriptor>]` boots microVMs until its end.
 * With a descriptor it keeps the first one, after it has printed the file that a child started without a jail has there.
 */
const [stateDir = '', path = '', bytes = '', descriptor] = process.argv.slice(2);
const driver = await openMicrovmDriver({ stateDir, guestDir: GUEST_DIR, accelerator: 'auto', log: () => {} });
const layers = [{ path, bytes: Number(bytes) }];
for (;;) {
  const instance = await driver.start(bootSpec(layers), AbortSignal.timeout(60_000));
  if (descriptor !== undefined) {
    const child = spawnSync('/usr/bin/readlink', [`/proc/self/fd/${descriptor}`], { encoding: 'utf8' });
    process.stdout.write(child.stdout);
    await instance.lost;
  }
  process.stdout.write('booted\n');
  await instance[Symbol.asyncDispose]();
}
