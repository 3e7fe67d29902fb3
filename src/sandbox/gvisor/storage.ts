import { statfs } from 'node:fs/promises';
import { fault } from '../../contract/errors.ts';

/** Free space below which writes fail: less than what gVisor takes at once. */
const FREE_BYTES_MIN = 1024 ** 2;

/**
 * Returns DISK_FULL when the file system that holds the runs' disks is full. gVisor writes to a run's disk through mapped memory:
 * where the host has no room for a page, the guest's program gets an I/O error, or the whole sandbox ends.
 */
export async function storageFault(folder: string): Promise<Error | undefined> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize < FREE_BYTES_MIN ? fault('DISK_FULL', {}) : undefined;
}
