import { FakeDriver } from '../../src/sandbox/fake/driver.ts';
import { driverConformance } from '../conformance/driver.ts';

driverConformance('fake', async () => {
  const driver = new FakeDriver();
  return {
    driver,
    layers: [],
    flood: (bytes) => ['flood', String(bytes)],
    crash: ['crash'],
    live: async () => driver.live,
    [Symbol.asyncDispose]: () => driver[Symbol.asyncDispose](),
  };
});
