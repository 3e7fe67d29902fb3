import { parseObjectsAddress } from './address.ts';
import type { ObjectStore } from './object-store.ts';
import { RETRY_POLICY, type RetryPolicy } from './retry.ts';

/**
 * Returns the objects at an address such as `s3://bucket/prefix`, with the credentials of the environment. Nothing is asked of
 * the store yet. The client is loaded now, because only a cluster needs it. Rejects with CONFIG_INVALID.
 */
export async function openObjects(address: string, policy: RetryPolicy = RETRY_POLICY): Promise<ObjectStore> {
  const parsed = parseObjectsAddress(address);
  const { S3Objects } = await import('./s3.ts');
  return new S3Objects(parsed, policy);
}
