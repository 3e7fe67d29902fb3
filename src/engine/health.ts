import { statfs } from 'node:fs/promises';
import type { DoctorCheck } from '../contract/server.ts';
import type { SandboxDriver } from '../sandbox/driver.ts';
import type { DamagedLayer } from '../store/layers.ts';
import type { Store } from '../store/store.ts';

const GiB = 1024 ** 3;
/** Free space below which a run may fail. */
const FREE_BYTES_MIN = 2 * GiB;

/** Runs all checks of `doctor`; all layers are hashed only with `verify`. */
export async function diagnose(
  store: Store,
  driver: SandboxDriver,
  { verify, signal }: { readonly verify: boolean; readonly signal: AbortSignal },
): Promise<DoctorCheck[]> {
  const checks = [await checkSpace(store), checkDatabase(store)];
  if (verify) checks.push(...(await checkLayers(store, signal)), ...(await checkUploads(store, signal)));
  return [...checks, ...(await driver.inspect(signal))];
}

async function checkSpace(store: Store): Promise<DoctorCheck> {
  const { bavail, bsize } = await statfs(store.directory);
  const free = bavail * bsize;
  const detail = `${(free / GiB).toFixed(1)} GiB free for the data directory`;
  if (free >= FREE_BYTES_MIN) return { name: 'disk space', status: 'ok', detail };
  return { name: 'disk space', status: 'warning', detail, remedy: 'Free space, for example with "contree gc".' };
}

function checkDatabase(store: Store): DoctorCheck {
  const problems = store.check();
  if (problems.length === 0) return { name: 'database', status: 'ok', detail: 'store.sqlite is intact' };
  return {
    name: 'database',
    status: 'failed',
    detail: problems.join('; '),
    remedy: 'Stop the engine and restore store.sqlite from a backup, or start with another --data-dir.',
  };
}

async function checkLayers(store: Store, signal: AbortSignal): Promise<DoctorCheck[]> {
  const damaged: DoctorCheck[] = [];
  for await (const layer of store.layers.verify(signal)) damaged.push(damage(layer));
  if (damaged.length > 0) return damaged;
  const { count, bytes } = store.layers.usage();
  return [
    { name: 'layers', status: 'ok', detail: `${count} layers, ${(bytes / GiB).toFixed(2)} GiB, match their digests` },
  ];
}

async function checkUploads(store: Store, signal: AbortSignal): Promise<DoctorCheck[]> {
  const damaged: DoctorCheck[] = [];
  for await (const sha256 of store.files.verify(signal)) {
    const detail = 'its content was not what its digest says, so it was dropped';
    damaged.push({ name: `upload ${sha256}`, status: 'failed', detail, remedy: 'Upload or rsync the file again.' });
  }
  if (damaged.length > 0) return damaged;
  const { count, bytes } = store.files.usage();
  return [
    { name: 'uploads', status: 'ok', detail: `${count} uploads, ${(bytes / GiB).toFixed(2)} GiB, match their digests` },
  ];
}

function damage({ digest, reason, images }: DamagedLayer): DoctorCheck {
  return {
    name: `layer ${digest}`,
    status: 'failed',
    detail: `${reason}; needed by ${images.length === 0 ? 'no image' : `images ${images.join(', ')}`}`,
    remedy: 'Import the images again that it belongs to; images made by runs on top of it work again then.',
  };
}
