import { FakeDriver } from '../support/fake-sandbox/driver.ts';
import { driverConformance } from '../conformance/driver.ts';

driverConformance('fake', async () => {
  const driver = new FakeDriver();
  return {
    driver,
    layers: [],
    // It reads no layers, and assumes that files it did not write are in the image.
    imageFile: '/etc/group',
    flood: (bytes) => ['flood', String(bytes)],
    crash: ['crash'],
    live: async () => driver.live,
    [Symbol.asyncDispose]: () => driver[Symbol.asyncDispose](),
  };
});
