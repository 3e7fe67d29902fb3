import { open, realpath, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { fault } from '../../../contract/errors.ts';
import { limits } from '../../../contract/limits.ts';
import { makeFolders } from '../../../std/files.ts';
import {
  type AcceleratorSetting,
  chooseAccelerator,
  findKvm,
  type HostDevice,
  type Kvm,
  type Verdict,
} from './accelerator.ts';
import type { DriverCollection, DriverGarbage } from '../../driver.ts';
import { Cgroups } from '../../host/cgroup.ts';
import { type Guest, loadGuest } from '../../host/guest.ts';
import { type Host, surveyHost } from './host.ts';
import type { Identities } from '../../host/identity.ts';
import { Jail } from './jail.ts';
import { endStaleVms, ownerOf } from '../../host/stale-vms.ts';
import { type Accelerator, LAYERS_DISK_BYTES, type Machine } from '../vm/machine.ts';
import { namelessFile } from '../../host/nameless-file.ts';
import { type Template, TemplateStore } from '../template/template.ts';
import { Templates } from '../template/templates.ts';

export interface PlatformOptions {
  readonly stateDir: string;
  readonly guestDir: string;
  readonly accelerator: AcceleratorSetting;
  readonly log: (message: string) => void;
}

/** Parts of a platform, all tested. */
interface Parts {
  readonly host: Host;
  readonly guest: Guest;
  readonly jail: Jail;
  readonly verdict: Verdict;
  readonly device?: HostDevice;
  readonly scratch: string;
  readonly padding: FileHandle;
  readonly cgroups?: Cgroups;
  readonly templates: Templates;
}

/** Everything that a microVM needs from this host, found and tested once: programs, guest, jail, accelerator, templates. */
export class HostPlatform implements AsyncDisposable {
  readonly parts: Parts;
  readonly #resources: AsyncDisposableStack;

  private constructor(parts: Parts, resources: AsyncDisposableStack) {
    this.parts = parts;
    this.#resources = resources;
  }

  /** Inspects the host, and boots a guest if KVM was never tried on it. Rejects with DRIVER_UNAVAILABLE. */
  static async open(options: PlatformOptions, identities: Identities, signal: AbortSignal): Promise<HostPlatform> {
    const { stateDir, guestDir, log } = options;
    const scratch = join(stateDir, 'tmp');
    await makeFolders(scratch, 0o700);
    const owner = ownerOf(await realpath(stateDir));
    const [host, guest] = await Promise.all([surveyHost(signal), loadGuest(guestDir), endStaleVms(owner)]);
    await using stack = new AsyncDisposableStack();
    const { vm: identity } = stack.use(identities.take());
    const groups = await Cgroups.open(owner, scratch);
    const cgroups = groups === undefined ? {} : { cgroups: stack.use(groups) };
    const jail = await Jail.open(
      host,
      { owner, helper: guest.helper.path, identity, limited: groups !== undefined },
      signal,
    );
    const padding = stack.use(await paddingFile(scratch));
    const kvm = await findKvm(identity !== undefined);
    const deviceOf = (accelerator: Accelerator): { device?: HostDevice } =>
      accelerator === 'kvm' && 'device' in kvm ? { device: kvm.device } : {};
    const store = new TemplateStore(join(stateDir, 'templates'), scratch);
    const templates = stack.use(
      new Templates({ host: { host, jail, guest, ...cgroups }, store, identities, deviceOf, log }, signal),
    );
    const verdict = await decide(options, kvm, host, templates);
    log(`microVMs run ${verdict.accelerator === 'kvm' ? 'on KVM' : 'emulated'}: ${verdict.reason}`);
    await templates.prune();
    const parts = {
      host,
      guest,
      jail,
      verdict,
      scratch,
      padding,
      templates,
      ...cgroups,
      ...deviceOf(verdict.accelerator),
    };
    return new HostPlatform(parts, stack.move());
  }

  machine(cpus: number, memoryMib: number): Machine {
    return { accelerator: this.parts.verdict.accelerator, cpus, memoryMib };
  }

  /** Makes the template that most runs use. */
  async warm(): Promise<Template> {
    return this.parts.templates.get(usualMachine(this.parts.verdict.accelerator));
  }

  /** Reports whether the template that most runs use exists. */
  async templateMade(): Promise<boolean> {
    return this.parts.templates.has(usualMachine(this.parts.verdict.accelerator));
  }

  /** Releases templates that no run uses. */
  async collect(request: DriverCollection): Promise<DriverGarbage> {
    const { templates, verdict } = this.parts;
    return templates.collect(request, usualMachine(verdict.accelerator));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync();
  }
}

async function decide(
  { accelerator, stateDir }: PlatformOptions,
  kvm: Kvm,
  host: Host,
  templates: Templates,
): Promise<Verdict> {
  if (accelerator === 'auto') {
    return chooseAccelerator(kvm, host, stateDir, async () => {
      await templates.get(usualMachine('kvm'));
    });
  }
  if (accelerator === 'kvm' && 'denied' in kvm) throw fault('DRIVER_UNAVAILABLE', { reason: kvm.denied });
  return { accelerator, reason: 'chosen by the setting "accelerator"' };
}

/** Makes a sparse file, which reads as zeroes and takes no space. */
async function paddingFile(folder: string): Promise<FileHandle> {
  await using file = await namelessFile(folder, 'r+', new Uint8Array());
  await file.truncate(LAYERS_DISK_BYTES);
  await file.chmod(0o400);
  return await open(`/proc/self/fd/${file.fd}`, 'r');
}

function usualMachine(accelerator: Accelerator): Machine {
  return { accelerator, cpus: limits.guestCpusDefault, memoryMib: limits.guestMemoryMibDefault };
}
