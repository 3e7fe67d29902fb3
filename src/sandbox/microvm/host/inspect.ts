import { isFault } from '../../../contract/errors.ts';
import { present } from '../../../std/present.ts';
import type { DriverCheck } from '../../driver.ts';
import type { Guest } from '../../host/guest.ts';
import type { HostPlatform } from './platform.ts';

const DAY_MS = 86_400_000;
/** Days after which a kernel is reported as old. Debian updates the kernel of its stable release about once a month. */
const KERNEL_DAYS_MAX = 90;

/** Returns the lines of `doctor` about this host. Never rejects. */
export async function inspectHost(opening: Promise<HostPlatform>): Promise<DriverCheck[]> {
  // Awaited first, because it may reject before anything else here resolves.
  const [opened] = await Promise.allSettled([opening]);
  try {
    if (opened.status === 'rejected') throw opened.reason;
    const platform = opened.value;
    return [
      qemuCheck(platform),
      guestCheck(platform.parts.guest, Date.now()),
      acceleratorCheck(platform),
      jailCheck(platform),
      await templateCheck(platform),
    ];
  } catch (error) {
    const known = isFault(error);
    const detail = error instanceof Error ? error.message : String(error);
    const remedy = known && typeof error.detail['remedy'] === 'string' ? error.detail['remedy'] : undefined;
    return [present({ name: 'microVM', status: 'failed', detail, remedy })];
  }
}

function qemuCheck({ parts: { host } }: HostPlatform): DriverCheck {
  return { name: 'QEMU', status: 'ok', detail: `${host.qemu.version} (${host.qemu.path})` };
}

/** Returns the line about the age of the guest's kernel, which has only the security updates that it was built with. */
export function guestCheck({ kernel, build }: Pick<Guest, 'kernel' | 'build'>, nowMs: number): DriverCheck {
  if (build === undefined) return { name: 'guest', status: 'ok', detail: `Linux ${kernel}, of unknown age` };
  const days = Math.max(0, Math.floor((nowMs - Date.parse(build.date)) / DAY_MS));
  const detail = `Linux ${kernel}, version ${build.version} of ${build.date}, ${days} day${days === 1 ? '' : 's'} old`;
  if (days <= KERNEL_DAYS_MAX) return { name: 'guest', status: 'ok', detail };
  const remedy = 'run guest/build, which follows the security updates of the distribution, or install a newer release';
  return { name: 'guest', status: 'warning', detail, remedy };
}

function acceleratorCheck({ parts: { verdict } }: HostPlatform): DriverCheck {
  const { accelerator, reason } = verdict;
  if (accelerator === 'kvm') return { name: 'accelerator', status: 'ok', detail: `KVM: ${reason}` };
  const remedy = 'use a host with KVM for microVMs at native speed: without it they work, only slower';
  return { name: 'accelerator', status: 'warning', detail: `emulated: ${reason}`, remedy };
}

function jailCheck({ parts: { jail, host } }: HostPlatform): DriverCheck {
  const { parts, missing } = jail.facts;
  const detail = `bubblewrap ${host.bwrap.version}: ${parts.join(', ')}`;
  if (missing.length === 0) return { name: 'jail', status: 'ok', detail };
  const remedy = 'for the whole jail run the engine as root, on a host with user namespaces and control groups';
  return { name: 'jail', status: 'warning', detail: `${detail}; missing: ${missing.join(', ')}`, remedy };
}

async function templateCheck(platform: HostPlatform): Promise<DriverCheck> {
  const made = await platform.templateMade();
  const detail = made ? 'made' : 'not made yet: the first run in a microVM waits for it, some seconds';
  return { name: 'template', status: made ? 'ok' : 'warning', detail };
}
