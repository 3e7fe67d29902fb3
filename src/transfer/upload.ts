import type { ConTree } from '../contract/contree.ts';
import { isFault } from '../contract/errors.ts';
import type { File } from '../contract/file.ts';
import type { TransferOptions, UploadReport } from './local-files.ts';
import type { OpenFile } from './open-file.ts';
import { hashStream } from '../std/streams.ts';

/** Uploads an open file; sends only the digest if the engine has its content. */
export async function uploadLocalFile(
  contree: ConTree,
  file: OpenFile,
  { signal, onProgress }: TransferOptions,
): Promise<UploadReport> {
  const { sha256: digest } = await hashStream(file.content(signal));
  const stored = await findFile(contree, digest, signal);
  if (stored !== undefined) {
    const { uuid, size } = stored;
    return { uuid, sha256: digest, size, reused: true };
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

async function findFile(contree: ConTree, sha256: string, signal: AbortSignal): Promise<File | undefined> {
  try {
    return await contree.uploads.get(sha256, signal);
  } catch (error) {
    if (isFault(error, 'UPLOAD_NOT_FOUND')) return undefined;
    throw error;
  }
}
