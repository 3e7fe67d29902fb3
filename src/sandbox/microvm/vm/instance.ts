import { fault, isFault } from '../../../contract/errors.ts';
import type { Channel } from '../../channel/index.ts';
import { ChannelInstance } from '../../channel-instance.ts';
import type { Instance, InstanceFacts } from '../../driver.ts';
import type { Network } from '../../network/index.ts';
import type { WriteFailure } from './qmp.ts';
import { endedSoon } from '../../jailed-process.ts';
import type { Vmm } from './vmm.ts';

/** Parts of one running microVM. */
export interface InstanceParts {
  readonly vmm: Vmm;
  readonly channel: Channel;
  readonly network: Network;
  /** Bytes that the run may write. */
  readonly diskBytes: number;
  /** Disposes of all of the above and releases their resources. */
  readonly resources: AsyncDisposableStack;
}

/** Returns a restored guest that is ready for commands. */
export function microvmInstance(facts: InstanceFacts, parts: InstanceParts): Instance {
  const { vmm, channel, network, diskBytes, resources } = parts;
  let writeFailure: Error | undefined;
  // The guest must not go on as if its disk held what it wrote.
  void vmm.qmp.writeFailed.then((failure) => {
    writeFailure = faultOf(failure, diskBytes);
    vmm.agent.destroy();
  });
  const reasonOf = async (error: Error): Promise<Error> => {
    if (writeFailure !== undefined) return writeFailure;
    if (!isFault(error, 'GUEST_LOST')) return error;
    // QEMU may know more.
    const ended = await endedSoon(vmm.ended);
    return ended === undefined ? error : fault('GUEST_LOST', { reason: ended.reason }, { cause: error });
  };
  return new ChannelInstance(facts, { channel, network, resources, reasonOf });
}

function faultOf({ noSpace, reason }: WriteFailure, diskBytes: number): Error {
  if (noSpace) return fault('DISK_FULL', {});
  if (reason === 'File too large') return fault('LAYER_BYTES_EXCEEDED', { limit: diskBytes });
  return fault('GUEST_LOST', { reason: `the host cannot write its disk: ${reason}` });
}
