import { isFault } from '../../../contract/errors.ts';
import type { DriverCheck } from '../../driver.ts';
import type { Platform } from './platform.ts';

/** What `doctor` tells of this host. Never rejects. */
export async function inspectHost(opening: Promise<Platform>): Promise<DriverCheck[]> {
  // Awaited first: it may reject before anything else here has come.
  const [opened] = await Promise.allSettled([opening]);
  try {
    if (opened.status === 'rejected') throw opened.reason;
    const platform = opened.value;
    return [
      qemuCheck(platform),
      guestCheck(platform),
      acceleratorCheck(platform),
      jailCheck(platform),
      await templateCheck(platform),
    ];
  } catch (error) {
    const known = isFault(error);
    const detail = error instanceof Error ? error.message : String(error);
    const remedy = known && typeof error.detail['remedy'] === 'string' ? error.detail['remedy'] : undefined;
    return [{ name: 'microVM', status: 'failed', detail, ...(remedy === undefined ? {} : { remedy }) }];
  }
}

function qemuCheck({ parts: { host } }: Platform): DriverCheck {
  return { name: 'QEMU', status: 'ok', detail: `${host.qemu.version} (${host.qemu.path})` };
}

function guestCheck({ parts: { guest } }: Platform): DriverCheck {
  return { name: 'guest', status: 'ok', detail: `Linux ${guest.kernel}` };
}

function acceleratorCheck({ parts: { verdict } }: Platform): DriverCheck {
  const { accelerator, reason } = verdict;
  if (accelerator === 'kvm') return { name: 'accelerator', status: 'ok', detail: `KVM: ${reason}` };
  const remedy = 'use a host with KVM for native speed: everything works without, only slower';
  return { name: 'accelerator', status: 'warning', detail: `emulated: ${reason}`, remedy };
}

function jailCheck({ parts: { jail, host } }: Platform): DriverCheck {
  const { parts, missing } = jail.facts;
  const detail = `bubblewrap ${host.bwrap.version}: ${parts.join(', ')}`;
  if (missing.length === 0) return { name: 'jail', status: 'ok', detail };
  const remedy = 'for the whole jail run the engine as root, on a host with user namespaces and control groups';
  return { name: 'jail', status: 'warning', detail: `${detail}; missing: ${missing.join(', ')}`, remedy };
}

async function templateCheck(platform: Platform): Promise<DriverCheck> {
  const made = await platform.templateMade();
  const detail = made ? 'made' : 'not made yet: the first run waits for it, some seconds';
  return { name: 'template', status: made ? 'ok' : 'warning', detail };
}
