import { after } from 'node:test';
import { driverConformance } from '../conformance/driver.ts';
import { CRASH, crashing, gvisorFolder, hasRunsc } from '../support/gvisor.ts';

// Where there is one.
if (await hasRunsc()) {
  const folder = await gvisorFolder();
  after(() => folder[Symbol.asyncDispose]());

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
