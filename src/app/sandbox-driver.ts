import { join } from 'node:path';
import type { Environment, Settings } from '../config/index.ts';
import type { Log } from '../http/log.ts';
import { openSandboxes, type SandboxCandidate } from '../sandbox/choice/sandboxes.ts';
import type { SandboxDriver } from '../sandbox/driver.ts';
import { openGvisorDriver } from '../sandbox/gvisor/driver.ts';
import { openMicrovmDriver } from '../sandbox/microvm/driver.ts';

/** Surroundings of the sandboxes. */
interface SandboxDeps {
  readonly env: Environment;
  readonly log: Log;
  /** Folder with the guest of the package. */
  readonly guestDir: string;
}

/** Opens the sandboxes of this host, best first, behind one driver. */
export async function openSandboxDriver(
  settings: Settings,
  { env, log, guestDir: packaged }: SandboxDeps,
): Promise<SandboxDriver> {
  const { dataDir, accelerator, networkAllow, defaultSandbox } = settings;
  const guestDir = settings.guestDir || packaged;
  const network = { exceptions: networkAllow };
  const logOf = (part: string) => (message: string) => log.info({ part }, message);
  await using stack = new AsyncDisposableStack();
  const microvm = stack.use(
    await openMicrovmDriver({
      stateDir: join(dataDir, 'microvm'),
      guestDir,
      accelerator,
      network,
      log: logOf('microvm'),
    }),
  );
  const path = env['PATH'] ?? '';
  const gvisor = stack.use(await openGvisorDriver({ stateDir: join(dataDir, 'gvisor'), guestDir, path, network }));
  const candidates: readonly [SandboxCandidate, SandboxCandidate] = [
    {
      kind: 'microvm',
      driver: microvm,
      tryNative: async (signal) => {
        const verdict = await microvm.verdict(signal);
        const reason = `${verdict.accelerator}: ${verdict.reason}`;
        return { native: verdict.accelerator === 'kvm', reason, remedy: 'use a host with KVM' };
      },
    },
    {
      kind: 'gvisor',
      driver: gvisor,
      tryNative: async (signal) => {
        const { works, ...why } = await gvisor.trial(signal);
        return { native: works, ...why };
      },
    },
  ];
  // Who names an accelerator means microVMs.
  const setting = defaultSandbox === 'auto' && accelerator !== 'auto' ? 'microvm' : defaultSandbox;
  const driver = openSandboxes({ candidates, setting, log: logOf('sandbox') });
  // They belong to it now.
  stack.move();
  return driver;
}
