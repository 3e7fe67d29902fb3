import { createHash } from 'node:crypto';
import type { ConTree } from '../contract/contree.ts';
import { isFault } from '../contract/errors.ts';
import type { File } from '../contract/file.ts';
import type { TransferOptions, UploadReport } from './local-files.ts';
import type { OpenFile } from './open-file.ts';

/** Uploads an open file; sends only the digest if the engine has its content. */
export async function uploadLocalFile(
  contree: ConTree,
  file: OpenFile,
  { signal, onProgress }: TransferOptions,
): Promise<UploadReport> {
  const stored = await findFile(contree, await digestOf(file, signal), signal);
  if (stored !== undefined) {
    const { uuid, sha256, size } = stored;
    return { uuid, sha256, size, reused: true };
  }
  const total = Number(file.info.size);
  const counted = async function* (): AsyncGenerator<Uint8Array> {
    let done = 0;
    for await (const chunk of file.content(signal)) {
      yield chunk;
      done += chunk.byteLength;
      onProgress?.({ done, total, what: 'uploading' });
    }
  };
  const { uuid, sha256, size } = await contree.uploads.create(counted(), signal);
  return { uuid, sha256, size, reused: false };
}

async function digestOf(file: OpenFile, signal: AbortSignal): Promise<string> {
  const hashing = createHash('sha256');
  for await (const chunk of file.content(signal)) hashing.update(chunk);
  return hashing.digest('hex');
}

async function findFile(contree: ConTree, sha256: string, signal: AbortSignal): Promise<File | undefined> {
  try {
    return await contree.uploads.get(sha256, signal);
  } catch (error) {
    if (isFault(error, 'UPLOAD_NOT_FOUND')) return undefined;
    throw error;
  }
}
