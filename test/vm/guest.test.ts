import { after } from 'node:test';
import { guestTests } from '../conformance/guest.ts';
import { microvmFolder } from '../support/microvm.ts';

const folder = await microvmFolder();
const bench = await folder.open();
after(async () => {
  await bench[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

guestTests('microVM', { ...bench, halt: 'poweroff -f', initIsSafe: true, modelRounds: 1 });
