import { cancelOperation } from './cancel-operation.ts';
import { diff } from './diff.ts';
import { download } from './download.ts';
import { getGuide } from './get-guide.ts';
import { getImage } from './get-image.ts';
import { getOperation } from './get-operation.ts';
import { grep } from './grep.ts';
import { importImage } from './import-image.ts';
import { listFiles } from './list-files.ts';
import { listImages } from './list-images.ts';
import { listOperations } from './list-operations.ts';
import { readFile } from './read-file.ts';
import { registryAuth } from './registry-auth.ts';
import { registryTokenObtain } from './registry-token-obtain.ts';
import { rsync } from './rsync.ts';
import { run } from './run.ts';
import { setTag } from './set-tag.ts';
import type { Tool } from './tool.ts';
import { upload } from './upload.ts';
import { waitOperations } from './wait-operations.ts';
import { whoami } from './whoami.ts';

export * from './accounts.ts';
export * from './call.ts';
export { asFault, failureText } from './failure.ts';
export * from './guides/index.ts';
export * from '../transfer/local-files.ts';
export { summarize } from './operation.ts';
export { cutOutput, isBinary, readOutput } from './output.ts';
export { plainName } from './text.ts';
export { tokenPageOf } from './registry-hosts.ts';
export { jsonSchemaOf } from './schema.ts';
export * from './tool.ts';
export * from './uris.ts';

/** Every tool, in the order in which clients list them. */
export const TOOLS: readonly Tool[] = [
  listImages,
  getImage,
  importImage,
  setTag,
  run,
  waitOperations,
  getOperation,
  listOperations,
  cancelOperation,
  listFiles,
  readFile,
  grep,
  diff,
  rsync,
  upload,
  download,
  registryAuth,
  registryTokenObtain,
  whoami,
  getGuide,
];

export interface ToolChoice {
  /** Only tools that change nothing. */
  readonly readOnly?: boolean;
  /** Only these names. */
  readonly names?: readonly string[];
  /** Whether some folder of this machine may be used. */
  readonly localFiles: boolean;
}

/** The tools that a server offers. Names it does not know are ignored; check them with `unknownTools` first. */
export function chooseTools({ readOnly, names, localFiles }: ToolChoice): Tool[] {
  return TOOLS.filter(
    (tool) =>
      (!readOnly || tool.effect === 'reads') &&
      (names === undefined || names.includes(tool.name)) &&
      (localFiles || !tool.local),
  );
}

export function unknownTools(names: readonly string[]): string[] {
  return names.filter((name) => !TOOLS.some((tool) => tool.name === name));
}
