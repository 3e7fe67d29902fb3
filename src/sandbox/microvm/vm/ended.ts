import type { Ended, Vmm } from './vmm.ts';

/** How long QEMU may take to say why, once its end of the channel is closed. */
const REASON_MS_MAX = 500;

/** How QEMU ended, when the channel was closed because it did. */
export async function endedSoon(vmm: Vmm): Promise<Ended | undefined> {
  const { promise: late, resolve } = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => resolve(undefined), REASON_MS_MAX);
  const ended = await Promise.race([vmm.ended, late]);
  clearTimeout(timer);
  return ended;
}
