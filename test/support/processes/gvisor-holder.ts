import { openGvisorDriver } from '../../../src/sandbox/gvisor/driver.ts';
import { bootSpec, GUEST_DIR } from '../microvm.ts';

/** A process to be killed: `gvisor-holder.ts <stateDir> <layer path> <layer bytes>` holds a sandbox from the line `ready` on. */
const [stateDir = '', path = '', bytes = ''] = process.argv.slice(2);
const driver = await openGvisorDriver({ stateDir, guestDir: GUEST_DIR, path: process.env['PATH'] ?? '' });
const instance = await driver.start(bootSpec([{ path, bytes: Number(bytes) }]), AbortSignal.timeout(60_000));
process.stdout.write('ready\n');
await instance.lost;
