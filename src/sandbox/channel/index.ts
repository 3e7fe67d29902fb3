export { Channel } from './channel.ts';
export type { GuestAddress, GuestNetwork, GuestReady, GuestSetup, LayerExtent } from './message.ts';
