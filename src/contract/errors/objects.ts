import { row } from './classes.ts';

/** Faults of the object store of a cluster. */
export const OBJECT_ERRORS = {
  OBJECTS_UNAVAILABLE: row<{ reason: string }>({
    class: 'unavailable',
    message: ({ reason }) => `the object store does not answer: ${reason}`,
    hint: 'Try again later; if it stays so, check the address, bucket and credentials of --objects.',
  }),
  OBJECTS_DENIED: row<{ reason: string }>({
    class: 'unavailable',
    retry: 'after a change',
    message: ({ reason }) => `the object store refused the request: ${reason}`,
    hint: 'Check the credentials of the cluster and what they may do in the bucket of --objects.',
  }),
  OBJECT_MISSING: row<{ key: string }>({
    class: 'corrupt',
    message: ({ key }) => `the object store has no ${key}`,
    hint: 'Restore the bucket from its backup; nothing else has these bytes.',
  }),
  OBJECT_DAMAGED: row<{ key: string; reason: string }>({
    class: 'corrupt',
    message: ({ key, reason }) => `the object store gave other bytes for ${key}: ${reason}`,
    hint: 'Try again; if it stays so, restore that object from the backup of the bucket.',
  }),
} as const;
