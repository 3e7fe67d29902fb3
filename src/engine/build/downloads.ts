import { posix } from 'node:path';
import { fault } from '../../contract/errors.ts';
import { limits } from '../../contract/limits.ts';
import { dockerfileFault } from '../../dockerfile/faults.ts';
import type { CopyInstruction } from '../../dockerfile/instruction.ts';
import { toByteString } from '../../std/bytes.ts';
import { atMost } from '../../std/streams.ts';
import type { Match } from './copy-sources.ts';
import { type GivenContent, GivenNode, STEP_TIME_SECONDS } from './source-node.ts';
import type { OngoingBuild } from './ongoing-build.ts';

/** Mode of a downloaded file (Dockerfile reference, ADD). */
const FILE_MODE = 0o600;

const GIT = /^(?:git@|git:\/\/|ssh:\/\/)|^https?:\/\/[^?#]*\.git(?:[#?].*)?$/iu;

/** Reports whether a source of ADD is a URL. Faults: DOCKERFILE_INVALID for a repository. */
export function isUrl(source: string, line: number): boolean {
  if (GIT.test(source)) throw dockerfileFault(line, `ADD of the repository ${source.slice(0, 200)} is not supported`);
  return /^https?:\/\//iu.test(source);
}

/**
 * Downloads the URLs of an ADD into the store. Each is a file with the last name of the URL's path, empty when it has none.
 * Faults: DOCKERFILE_INVALID, FILE_TOO_LARGE, DIGEST_MISMATCH, and those of the downloader.
 */
export async function downloadFor(
  build: OngoingBuild,
  urls: readonly string[],
  { line, checksum }: CopyInstruction,
): Promise<readonly Match[]> {
  const { store, download } = build.place;
  const { signal } = build;
  const files: Match[] = [];
  for (const url of urls) {
    if (download === undefined) throw dockerfileFault(line, 'ADD of a URL is not possible here');
    if (!URL.canParse(url)) throw dockerfileFault(line, `${JSON.stringify(url.slice(0, 200))} is not a URL`);
    const target = new URL(url);
    build.log.line(`line ${line}: downloading ${target.origin}${target.pathname}`);
    const limit = limits.buildDownloadBytesMax;
    const answer = await download(target, signal);
    const bounded = atMost(answer.body, limit, () =>
      fault('FILE_TOO_LARGE', { path: target.pathname, bytes: limit, limit }),
    );
    const { sha256, size } = await store.files.write(bounded, signal);
    if (checksum !== undefined && checksum !== `sha256:${sha256}`) {
      throw fault('DIGEST_MISMATCH', { what: url.slice(0, 200), expected: checksum, actual: `sha256:${sha256}` });
    }
    const { modifiedSeconds: mtimeSeconds = STEP_TIME_SECONDS } = answer;
    const content = (ends: AbortSignal): GivenContent => ({
      size,
      content: store.files.open(sha256, ends),
      mtimeSeconds,
    });
    files.push({ path: toByteString(nameOf(target)), node: new GivenNode(FILE_MODE, sha256, content) });
  }
  return files;
}

function nameOf({ pathname }: URL): string {
  if (pathname.endsWith('/')) return '';
  const name = posix.basename(pathname);
  try {
    return decodeURIComponent(name).replaceAll('/', '');
  } catch {
    return name;
  }
}
