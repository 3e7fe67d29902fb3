import { limits } from '../limits.ts';
import type { Rows } from './row.ts';

const SPAWN = ['spawn', 'spawn_disposable'] as const;

/** Pages of programs in instances, which a server has at an origin for each port. */
export const PAGES = {
  /**
   * Returns an address that signs a browser in to the pages of a port. It works once, for a short time. The port need not be
   * published. Faults: PAGES_UNAVAILABLE.
   */
  link: {
    method: 'POST',
    path: '/instances/{operationId}/ports/{port}/link',
    subject: 'port',
    operationId: 'linkToPort',
    refuses: [501],
    summary: 'Address that signs a browser in to the pages of a port of an instance; it works once',
    permissions: SPAWN,
    answer: 'PortLink',
    status: 201,
    success: 'a link was made',
    addition: true,
  },
} as const satisfies Rows;

/** Instances that stay: opened once, used again and again. Their commands are started with `processes.start`. */
export const INSTANCES = {
  /** Queues the start of an instance; `uuid` is its operation's, which is EXECUTING while it is open. */
  open: {
    method: 'POST',
    path: '/instances/open',
    operationId: 'openInstance',
    refuses: [404],
    summary: 'Open an instance of an image that stays until it is closed, idle or too old',
    permissions: SPAWN,
    body: 'InstanceOpenRequest',
    bodyBytesMax: limits.jsonBodyBytesMax,
    answer: 'RunStarted',
    status: 201,
    success: 'accepted',
    addition: true,
  },
  list: {
    method: 'GET',
    path: '/instances',
    operationId: 'listInstances',
    summary: 'List open instances, newest first; with `all` also those that have ended',
    permissions: ['list'],
    query: 'InstanceQuery',
    answer: 'InstanceList',
    status: 200,
    addition: true,
  },
  /** Returns an instance with its processes. Faults: OPERATION_NOT_FOUND, also for an operation that is none. */
  get: {
    method: 'GET',
    path: '/instances/{operationId}',
    subject: 'operation',
    operationId: 'getInstance',
    summary: 'An instance with its processes',
    permissions: ['list'],
    answer: 'InstanceDetails',
    status: 200,
    addition: true,
  },
  /**
   * Makes an image of the files of an instance that goes on. Its parent is the snapshot before it, or the image that the
   * instance was opened from. Faults: INSTANCE_NOT_READY, INSTANCE_NOT_RUNNING, SNAPSHOT_FAILED, LAYER_BYTES_EXCEEDED.
   */
  snapshot: {
    method: 'POST',
    path: '/instances/{operationId}/snapshot',
    subject: 'operation',
    operationId: 'snapshotInstance',
    refuses: [409, 425],
    summary: 'Make an image of the files of an open instance, whose processes go on',
    permissions: ['spawn'],
    body: 'InstanceSnapshotRequest',
    answer: 'InstanceSnapshot',
    status: 200,
    addition: true,
    slow: true,
  },
  /**
   * Ends an instance without waiting for its end: its processes are killed, and its changes are kept unless it is
   * disposable. Faults: INSTANCE_NOT_READY, INSTANCE_NOT_RUNNING.
   */
  close: {
    method: 'POST',
    path: '/instances/{operationId}/close',
    subject: 'operation',
    operationId: 'closeInstance',
    refuses: [409, 425],
    summary: 'End an instance; its changes become an image unless it is disposable or `keep` is false',
    permissions: SPAWN,
    body: 'InstanceCloseRequest',
    status: 202,
    success: 'it ends',
    addition: true,
  },
  /**
   * Makes a TCP port of an instance reachable at a port of the engine's machine, until the instance ends. A port that is
   * published already stays where it is. Faults: PORT_TAKEN, PORT_LIMIT, INSTANCE_NOT_READY, INSTANCE_NOT_RUNNING.
   */
  publish: {
    method: 'POST',
    path: '/instances/{operationId}/ports',
    subject: 'operation',
    operationId: 'publishPort',
    refuses: [409, 425],
    summary: "Make a TCP port of an instance reachable at a port of the engine's machine",
    permissions: SPAWN,
    body: 'PortPublishRequest',
    answer: 'PortInfo',
    status: 201,
    success: 'published',
    addition: true,
  },
  /** Ends the publication of a port and its connections. Faults: PORT_NOT_PUBLISHED. */
  unpublish: {
    method: 'DELETE',
    path: '/instances/{operationId}/ports/{port}',
    subject: 'port',
    operationId: 'unpublishPort',
    refuses: [409, 425],
    summary: 'End the publication of a port, and the connections to it',
    permissions: SPAWN,
    status: 204,
    success: 'not published any more',
    addition: true,
  },
} as const satisfies Rows;
