import { buildImage } from './images/build-image.ts';
import { closeInstance } from './instances/close-instance.ts';
import { openInstance } from './instances/open-instance.ts';
import { snapshot } from './instances/snapshot.ts';
import { cancelOperation } from './operations/cancel-operation.ts';
import { diff } from './images/diff.ts';
import { download } from './files/download.ts';
import { getGuide } from './server/get-guide.ts';
import { getImage } from './images/get-image.ts';
import { getOperation } from './operations/get-operation.ts';
import { grep } from './images/grep.ts';
import { importImage } from './images/import-image.ts';
import { listFiles } from './files/list-files.ts';
import { listImages } from './images/list-images.ts';
import { listOperations } from './operations/list-operations.ts';
import { readFile } from './files/read-file.ts';
import { registryAuth } from './server/registry-auth.ts';
import { registryTokenObtain } from './server/registry-token-obtain.ts';
import { rsync } from './files/rsync.ts';
import { run } from './operations/run.ts';
import { setTag } from './images/set-tag.ts';
import type { Tool } from './support/tool.ts';
import { upload } from './files/upload.ts';
import { waitOperations } from './operations/wait-operations.ts';
import { whoami } from './server/whoami.ts';

export * from './support/accounts.ts';
export * from './support/call.ts';
export { asFault, failureText } from './support/failure.ts';
export * from './guides/index.ts';
export { summarize } from './support/operation.ts';
export { cutOutput, isBinary, readOutput } from './support/output.ts';
export { plainName } from './support/text.ts';
export { tokenPageOf } from './support/registry-hosts.ts';
export { jsonSchemaOf } from './support/schema.ts';
export * from './support/tool.ts';
export * from './support/uris.ts';

/** All tools, in the order in which clients list them. */
export const TOOLS: readonly Tool[] = [
  listImages,
  getImage,
  importImage,
  buildImage,
  setTag,
  run,
  openInstance,
  snapshot,
  closeInstance,
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
  /** True to offer only tools that change nothing. */
  readonly readOnly?: boolean;
  /** Names of the tools to offer. */
  readonly names?: readonly string[];
  /** True when a local folder may be used. */
  readonly localFiles: boolean;
}

/** Returns the tools that a server offers. Unknown names are ignored; callers check them with `unknownTools` first. */
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
