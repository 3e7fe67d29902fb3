import type { ConTree } from '../contract/contree.ts';
import { isFault } from '../contract/errors.ts';
import type { File } from '../contract/file.ts';

/** Returns the uploaded file with this content, or undefined when the project has none. */
export async function findUpload(contree: ConTree, sha256: string, signal: AbortSignal): Promise<File | undefined> {
  try {
    return await contree.uploads.get(sha256, signal);
  } catch (error) {
    if (isFault(error, 'UPLOAD_NOT_FOUND')) return undefined;
    throw error;
  }
}
