import { after } from 'node:test';
import { driverConformance } from '../conformance/driver.ts';
import { microvmFolder } from '../support/microvm.ts';

const folder = await microvmFolder();
after(() => folder[Symbol.asyncDispose]());

driverConformance('microVM', async () => ({
  ...(await folder.open()),
  imageFile: '/etc/group',
  flood: (bytes) => ['head', '-c', String(bytes), '/dev/zero'],
  crash: ['sh', '-c', 'echo c > /proc/sysrq-trigger'],
}));
