import { addressOf } from '../../../src/sandbox/network/link.ts';
import { emptyPacket, PROTOCOL } from '../../../src/sandbox/network/packet.ts';
import { Reach } from '../../../src/sandbox/network/reach.ts';

/** Prints, as JSON, which of the addresses in its arguments a guest of this host may send datagrams to. */
const reach = new Reach({ mode: 'public' });
const permitted = process.argv.slice(2).filter((text) => {
  const packet = { ...emptyPacket(), destination: addressOf(text), protocol: PROTOCOL.udp, destinationPort: 443 };
  return reach.permits(packet);
});
process.stdout.write(JSON.stringify(permitted));
