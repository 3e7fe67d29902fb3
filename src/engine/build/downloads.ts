import { posix } from 'node:path';
import { fault } from '../../contract/errors.ts';
import { limits } from '../../contract/limits.ts';
import { dockerfileFault } from '../../dockerfile/faults.ts';
import { DownloadRefused } from '../../images/import/download.ts';
import { toByteString } from '../../std/bytes.ts';
import type { Match } from './copy-sources.ts';
import { type GivenContent, GivenNode, STEP_TIME_SECONDS } from './source-node.ts';
import type { OngoingBuild } from './ongoing-build.ts';

/** Mode of a downloaded file (Dockerfile reference, ADD). */
const FILE_MODE = 0o600;

const CHECKSUM = /^sha256:[0-9a-f]{64}$/iu;
const GIT = /^(?:git@|git:\/\/|ssh:\/\/)|^https?:\/\/[^?#]*\.git(?:[#?].*)?$/iu;

/** Reports whether a source of ADD is a URL. Faults: DOCKERFILE_INVALID for a repository. */
export function isUrl(source: string, line: number): boolean {
  if (GIT.test(source)) {
    const instead = 'clone it in a RUN, with --mount=type=ssh or type=secret where it is private';
    throw dockerfileFault(line, `ADD of the repository ${source.slice(0, 200)} is not supported: ${instead}`);
  }
  return /^https?:\/\//iu.test(source);
}

/** URLs of an ADD, with their variables replaced. */
export interface Wanted {
  readonly urls: readonly string[];
  /** `sha256:` and 64 hexadecimal digits, for the only URL. */
  readonly checksum: string | undefined;
  readonly line: number;
}

/** Returns the checksum of an ADD. Faults: DOCKERFILE_INVALID for another algorithm than sha256. */
export function checksumOf(text: string, line: number): string {
  if (CHECKSUM.test(text)) return text.toLowerCase();
  throw dockerfileFault(line, `--checksum=${text.slice(0, 80)} is not sha256: and 64 hexadecimal digits`);
}

/**
 * Downloads the URLs of an ADD into the store. Each is a file with the last name of the URL's path, empty when it has none,
 * and the time of the Last-Modified header. Faults: DOCKERFILE_INVALID, FILE_TOO_LARGE, DIGEST_MISMATCH, and those of the
 * downloader.
 */
export async function downloadFor(build: OngoingBuild, { urls, checksum, line }: Wanted): Promise<readonly Match[]> {
  const { store, download } = build.place;
  const { signal } = build;
  const files: Match[] = [];
  for (const url of urls) {
    if (download === undefined) throw dockerfileFault(line, 'ADD of a URL is not possible here');
    const target = parseUrl(url, line);
    build.log.line(`line ${line}: downloading ${target.origin}${target.pathname}`);
    const answer = await download(target, limits.buildDownloadBytesMax, signal).catch((error: unknown) => {
      if (!(error instanceof DownloadRefused)) throw error;
      throw dockerfileFault(line, `${target.origin}${target.pathname} answers with ${error.message}`);
    });
    const { sha256, size } = await store.files.write(answer.body, signal);
    if (checksum !== undefined && checksum !== `sha256:${sha256}`) {
      throw fault('DIGEST_MISMATCH', { what: url.slice(0, 200), expected: checksum, actual: `sha256:${sha256}` });
    }
    const { modifiedSeconds: mtimeSeconds = STEP_TIME_SECONDS } = answer;
    const content = (ends: AbortSignal): GivenContent => ({
      size,
      content: store.files.open(sha256, ends),
      mtimeSeconds,
    });
    files.push({ path: toByteString(nameOfUrl(url, line)), node: new GivenNode(FILE_MODE, sha256, content) });
  }
  return files;
}

/** Returns the name that the file of a URL has in a directory; empty when its path names none. */
function nameOfUrl(url: string, line: number): string {
  const { pathname } = parseUrl(url, line);
  let path = pathname;
  try {
    path = decodeURIComponent(pathname);
  } catch {
    // Not UTF-8 once it is decoded, so it is the name as it is written.
  }
  const name = posix.basename(path);
  return name === '.' || name === '..' || name.includes('\0') ? '' : name;
}

function parseUrl(url: string, line: number): URL {
  if (!URL.canParse(url)) throw dockerfileFault(line, `${JSON.stringify(url.slice(0, 200))} is not a URL`);
  return new URL(url);
}
