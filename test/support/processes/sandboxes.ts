import { SETTINGS, type Settings } from '../../../src/config/index.ts';
import { openSandboxDriver } from '../../../src/app/sandbox-driver.ts';
import { isFault } from '../../../src/contract/errors.ts';
import { SILENT } from '../../../src/http/log.ts';
import { bootSpec, GUEST_DIR } from '../microvm.ts';

/**
 * `sandboxes.ts <dataDir>`: prints as JSON what the sandboxes of this machine report to `doctor`, and how a run ends that asks
 * for gVisor by name. Started where something is forbidden.
 */
const [dataDir = ''] = process.argv.slice(2);
const defaults = Object.fromEntries(Object.entries(SETTINGS).map(([name, row]) => [name, row.default])) as Settings;
const settings: Settings = { ...defaults, dataDir, defaultSandbox: 'auto' };
const driver = await openSandboxDriver(settings, { env: process.env, log: SILENT, guestDir: GUEST_DIR });
const signal = AbortSignal.timeout(300_000);
const checks = await driver.inspect(signal);
const refusal = await driver.start({ ...bootSpec([]), sandbox: 'gvisor' }, signal).then(
  async (instance) => instance[Symbol.asyncDispose](),
  (error: unknown) => (isFault(error) ? { code: error.code, ...error.detail } : String(error)),
);
await driver[Symbol.asyncDispose]();
process.stdout.write(JSON.stringify({ checks, refusal }));
