import { list, setting, text } from './setting.ts';

const CLUSTER = { group: 'cluster', programs: ['contree'] } as const;

/** Roles of a node: answering clients, and executing operations. */
export const NODE_ROLES = ['api', 'worker'] as const;
type NodeRole = (typeof NODE_ROLES)[number];

function roles(value: string): readonly NodeRole[] {
  return list(value).map((name) => {
    const found = NODE_ROLES.find((role) => role === name);
    if (found === undefined) throw new Error(`expected api, worker or both, got ${JSON.stringify(name)}`);
    return found;
  });
}

/** Settings of `contree serve` as one node of several. */
export const CLUSTER_SETTINGS = {
  cluster: setting({
    flag: 'cluster',
    env: 'CONTREE_CLUSTER',
    default: '',
    defaultText: 'one machine by itself',
    value: 'URL',
    parse: text,
    doc: 'PostgreSQL database (postgres://…) of the cluster that this node is part of. Other users can see command lines: with a password, prefer the environment.',
    ...CLUSTER,
  }),
  objects: setting({
    flag: 'objects',
    env: 'CONTREE_OBJECTS',
    default: '',
    value: 'URL',
    parse: text,
    doc: 'Object storage of the cluster, s3://BUCKET/PREFIX, with ?endpoint= for others than AWS. Credentials come from the usual AWS variables.',
    ...CLUSTER,
  }),
  clusterSecret: setting({
    flag: 'cluster-secret',
    env: 'CONTREE_CLUSTER_SECRET',
    default: '',
    value: 'SECRET',
    parse: text,
    doc: 'Secret that all nodes of the cluster share, at least 32 characters: they trust each other by it and encrypt waiting requests with it. Prefer the environment.',
    ...CLUSTER,
  }),
  nodeName: setting({
    flag: 'node-name',
    env: 'CONTREE_NODE_NAME',
    default: '',
    defaultText: 'the host name',
    value: 'NAME',
    parse: text,
    doc: 'Name of this node, of which the cluster has one.',
    ...CLUSTER,
  }),
  nodeUrl: setting({
    flag: 'node-url',
    env: 'CONTREE_NODE_URL',
    default: '',
    defaultText: 'the address of the HTTP server',
    value: 'URL',
    parse: text,
    doc: 'URL at which the other nodes reach the HTTP server of this one.',
    ...CLUSTER,
  }),
  role: setting({
    flag: 'role',
    env: 'CONTREE_ROLE',
    default: NODE_ROLES,
    defaultText: 'api,worker',
    value: 'ROLES',
    parse: roles,
    doc: 'Work of this node: api (answers clients), worker (executes operations), or both. Nodes without api answer, too, so that others reach what they execute.',
    ...CLUSTER,
  }),
} as const;
