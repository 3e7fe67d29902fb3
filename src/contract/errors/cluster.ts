import { row } from './classes.ts';

/** Rows of the error table about several nodes that share a catalogue and a queue. */
export const CLUSTER_ERRORS = {
  CLUSTER_UNAVAILABLE: row<{ reason: string }>({
    class: 'unavailable',
    message: ({ reason }) => `the database of the cluster cannot be used: ${reason}`,
    hint: 'Try again in a moment; if it stays so, check that PostgreSQL runs and that --cluster names it.',
  }),
  CLUSTER_VERSION_UNSUPPORTED: row<{ version: number; supported: number }>({
    class: 'unsupported',
    message: ({ version, supported }) =>
      `the database of the cluster has version ${version}; this program reads up to ${supported}`,
    hint: 'Upgrade this node to the version of the others.',
  }),
  NODE_NAME_TAKEN: row<{ node: string; url: string }>({
    class: 'conflict',
    message: ({ node, url }) => `another node named ${JSON.stringify(node)} is in the cluster, at ${url}`,
    hint: 'Give each node a name of its own, or stop the other one and wait until its lease has ended.',
  }),
  NODE_LOST: row<{ operation: string; node: string }>({
    class: 'unavailable',
    message: ({ operation, node }) =>
      `operation ${operation} had begun on node ${JSON.stringify(node)}, which stopped answering`,
    hint: 'Start it again; nothing of it was published.',
  }),
  NODE_UNREACHABLE: row<{ node: string; reason: string }>({
    class: 'unavailable',
    message: ({ node, reason }) => `node ${JSON.stringify(node)}, which has it, cannot be reached: ${reason}`,
    hint: 'Try again in a moment: once the lease of the node has ended, the operation ends or goes to another.',
  }),
  LEASE_LOST: row<{ operation: string }>({
    class: 'conflict',
    message: ({ operation }) => `operation ${operation} does not belong to this node any more; nothing was published`,
    hint: 'Ask for the operation again: it has ended, or another node has it.',
  }),
} as const;
