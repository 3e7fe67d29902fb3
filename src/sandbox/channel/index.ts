export { Channel } from './channel.ts';
export type {
  GuestAddress,
  GuestHello,
  GuestNetwork,
  GuestReady,
  GuestSetup,
  InterfaceCounters,
  LayerExtent,
} from './message.ts';
