import type { ConTree } from '../contract/contree.ts';
import { findUpload } from './find-upload.ts';
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
  const stored = await findUpload(contree, digest, signal);
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
