import { row } from './classes.ts';

/** Rows of the error table about processes, ports and snapshots of an instance, and the number of instances. */
export const INSTANCE_ERRORS = {
  INSTANCE_NOT_RUNNING: row<{ operation: string; status: string }>({
    class: 'conflict',
    message: ({ operation, status }) => `operation ${operation} has no running instance: it is ${status}`,
    hint: 'Start another run; its processes can be reached while it is EXECUTING.',
  }),
  INSTANCE_FINISHED: row<{ operation: string; status: string }>({
    class: 'conflict',
    http: 410,
    message: ({ operation, status }) => `the instance of operation ${operation} is gone: the operation is ${status}`,
    hint: 'Start another run; nothing can be written to one that has ended.',
  }),
  STDIN_CLOSED: row<{ operation: string; spid: number }>({
    class: 'conflict',
    message: ({ operation, spid }) => `standard input of process ${spid} of operation ${operation} is closed`,
    hint: 'Start the process with stdin.close=false to write to it later, and send close=false with every write but the last.',
  }),
  INSTANCE_NOT_READY: row<{ operation: string }>({
    class: 'unavailable',
    http: 425,
    message: ({ operation }) => `the instance of operation ${operation} is still starting`,
    hint: 'Try again in a moment.',
  }),
  CONNECTION_LIMIT: row<{ limit: number }>({
    class: 'exhausted',
    message: ({ limit }) => `${limit} connections to ports of the instance are open`,
    hint: 'Close some of the connections, then try again.',
  }),
  PORT_UNREACHABLE: row<{ port: number; reason: string }>({
    class: 'unavailable',
    http: 502,
    message: ({ port, reason }) => `port ${port} of the instance: ${reason}`,
    hint: 'Start a server in the instance that listens on that port, then try again.',
  }),
  PORT_NOT_PUBLISHED: row<{ port: number }>({
    class: 'missing',
    message: ({ port }) => `port ${port} of the instance is not published`,
    hint: 'List the published ports (get_instance, "contree instances").',
  }),
  PORT_TAKEN: row<{ hostPort: number; reason: string }>({
    class: 'conflict',
    message: ({ hostPort, reason }) => `port ${hostPort} of this machine: ${reason}`,
    hint: 'Choose another port, or 0 for one that is free.',
  }),
  PORT_LIMIT: row<{ what: 'instance' | 'project'; limit: number }>({
    class: 'conflict',
    message: ({ what, limit }) => `${limit} ports of the ${what} are published already`,
    hint: 'End the publication of a port that is not needed any more, then try again.',
  }),
  PAGES_UNAVAILABLE: row<unknown>({
    class: 'unsupported',
    message: () => 'this engine has no HTTP server, so pages of instances have no address',
    hint: 'Use the published port of the host, or start the engine with "contree serve".',
  }),
  PAGE_SIGN_IN: row<unknown>({
    class: 'unauthenticated',
    message: () => 'these are pages of an instance, and this browser was not signed in to them',
    hint: 'Ask for a link ("contree open --publish", the console, POST /v1/instances/{uuid}/ports/{port}/link), or send "Authorization: Bearer TOKEN".',
  }),
  PAGE_LINK_INVALID: row<unknown>({
    class: 'denied',
    message: () => 'this link to the pages of an instance was used already, or has expired',
    hint: 'Ask for a new link, and open it once.',
  }),
  INSTANCE_LIMIT: row<{ what: string; limit: number }>({
    class: 'exhausted',
    message: ({ what, limit }) => `${limit} instances of this ${what} are open already`,
    hint: 'Close one that is not needed any more (close_instance, "contree close"), then try again.',
  }),
  INSTANCE_MEMORY: row<{ askedMib: number; freeMib: number }>({
    class: 'exhausted',
    message: ({ askedMib, freeMib }) =>
      `open instances leave ${freeMib} MiB of memory for further ones, and this one needs ${askedMib} MiB`,
    hint: 'Close an instance, or open this one with less memory (resources_limits.memory_mib).',
  }),
  USER_UNKNOWN: row<{ what: 'user' | 'group'; user: string }>({
    class: 'invalid',
    message: ({ what, user }) => `the image does not know the ${what} of ${JSON.stringify(user)}`,
    hint: 'Name one of /etc/passwd and /etc/group, create it first (adduser), or give numbers.',
  }),
  SNAPSHOT_FAILED: row<{ reason: string }>({
    class: 'unavailable',
    message: ({ reason }) => `no snapshot was taken: ${reason}`,
    hint: 'Remove the reason, or try again; the instance goes on as before.',
  }),
} as const;
