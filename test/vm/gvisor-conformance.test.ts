import { after } from 'node:test';
import { driverConformance } from '../conformance/driver.ts';
import { guestTests } from '../conformance/guest.ts';
import { networkTests } from '../conformance/network.ts';
import { CRASH, crashing, gvisorFolder, hasRunsc } from '../support/gvisor.ts';

// Where there is one.
if (await hasRunsc()) {
  const folder = await gvisorFolder();
  const guests = await folder.open();
  after(async () => {
    await guests[Symbol.asyncDispose]();
    await folder[Symbol.asyncDispose]();
  });

  guestTests('gVisor', { ...guests, halt: 'kill -9 1', initIsSafe: false, modelRounds: 3 });
  networkTests('gVisor', folder);

  driverConformance('gVisor', async () => {
    const bench = await folder.open();
    return {
      ...bench,
      driver: crashing(bench),
      imageFile: '/etc/group',
      flood: (bytes) => ['head', '-c', String(bytes), '/dev/zero'],
      crash: CRASH,
      [Symbol.asyncDispose]: () => bench[Symbol.asyncDispose](),
    };
  });
}
