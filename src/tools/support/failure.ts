import { randomUUID } from 'node:crypto';
import { closestOf } from '../../contract/closest.ts';
import type { ConTree } from '../../contract/contree.ts';
import { limits } from '../../contract/limits.ts';
import { ERRORS, fault, faultFromReport, isFault, type ContreeError, type ErrorCode } from '../../contract/errors.ts';
import type { OperationResponse } from '../../contract/operation.ts';
import { defined } from '../../std/assert.ts';

const CLOSEST_SHOWN_MAX = 3;

type Detail = ContreeError['detail'];

/** Exact next tool call for a model, where the table's hint (written for every surface) is less specific. */
const NEXT_CALL: { readonly [Code in ErrorCode]?: (detail: Detail, tool: string) => string } = {
  ARGUMENT_INVALID: (_, tool) => `Correct the named arguments and call ${tool} again.`,
  IMAGE_NOT_FOUND: ({ image, closest }) =>
    (closest === undefined ? '' : `Use image="${String(closest).split(', ')[0]}" if that was meant. `) +
    `Call list_images(${prefixOf(String(image))}) to see what exists, or import_image(registry_url="docker://…").`,
  TAG_NOT_FOUND: ({ tag }) => `Call list_images(${prefixOf(String(tag))}) to see the tags that exist.`,
  TAG_NOT_MOVED: ({ tag, image, answer }) =>
    `Use image="${image}" meanwhile. ` +
    (answer === 'declined'
      ? 'Ask the user what they want before trying again.'
      : `If the user has asked for the move, call set_tag(image_uuid="${image}", tag="${tag}", force=true).`),
  INSTANCE_NOT_RUNNING: ({ operation }) =>
    `Call get_operation(operation_id="${operation}") for the image that was kept, then open_instance with it.`,
  OPERATION_NOT_FOUND: () => 'Call list_operations() to see the operations that exist; old ones are removed with time.',
  FILE_NOT_FOUND: ({ path, nearest }) =>
    `Call list_files(path=${JSON.stringify(nearest ?? parentOf(String(path)))}) on the same image to see what is there.`,
  LAYER_BYTES_EXCEEDED: () => 'Write less, or call run again with a larger max_layer_bytes.',
  PATH_OUTSIDE_ROOT: ({ roots }) =>
    roots === ''
      ? 'Ask the user to start this server with --fs-root FOLDER; upload(content=…) takes text without it.'
      : 'Use a path below an allowed folder, or ask the user to start this server with another --fs-root.',
  UPLOAD_NOT_FOUND: () => 'Call upload(path=…) again and pass the uuid that it returns.',
  DIRECTORY_STATE_NOT_FOUND: () => 'Call rsync(source=…, destination=…) again and pass the id that it returns.',
  NOT_A_FILE: ({ path }) => `Call list_files(path=${JSON.stringify(path)}) on the same image.`,
  NOT_A_DIRECTORY: ({ path }) => `Call read_file(path=${JSON.stringify(path)}) on the same image.`,
  FILE_TOO_LARGE: () => 'Call download to save it as a local file, or read_file with offset and limit.',
  OPERATION_FINISHED: ({ operation }) => `Call get_operation(operation_id="${operation}") for its result.`,
  OPERATION_LIMIT: () => 'Call wait_operations on operations you started, then try again.',
  BUILD_FAILED: ({ image }) =>
    `open_instance(image="${image}") shows what the step saw; correct it and call build_image again: steps before it are reused.`,
  REGISTRY_DENIED: ({ registry }) =>
    `Check the image name; if it is private call registry_auth(registry_url="${registry}") and import again.`,
  REGISTRY_RATE_LIMITED: ({ registry }) =>
    `Wait, or call registry_auth(registry_url="${registry}") for a higher limit.`,
  SIGN_IN_NEEDED: ({ registry, url }) =>
    `Ask the user to ${url === undefined ? '' : `open ${url} or to `}run in their own terminal: contree auth registry ${registry}. ` +
    'Do not ask them to paste a token here. Then import again.',
  TOKEN_INVALID: () => 'Ask the user to make a new token with "contree token create"; do not retry.',
  TOKEN_MISSING: () => 'Ask the user to configure a token for this server; do not retry.',
  PERMISSION_MISSING: () => 'Ask the user for a token with that permission; whoami() shows what this one may do.',
  DISK_FULL: () => 'Ask the user to free space ("contree gc"); images made so far are whole.',
};

function prefixOf(image: string): string {
  const scope = image.replace(/^tag:/u, '').split('/')[0] ?? '';
  return image.includes('/') ? `tag_prefix="${scope}/"` : '';
}

function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/')) || '/';
}

/** Returns the text of a failed call: first line what failed, second line the next call, third whether to retry. */
export function failureText(error: ContreeError, tool: string): string {
  const { code, message, detail, hint } = error;
  // The fault of an ended operation has lost its details; then the general hint is better.
  const nextCall = Object.keys(detail).length > 0 || NEXT_CALL[code]?.length === 0 ? NEXT_CALL[code] : undefined;
  const lines = [`${code}: ${message}`, nextCall?.(detail, tool) ?? hint];
  if (error.retry === 'later') lines.push('This can pass: the same call may work later.');
  return lines.join('\n');
}

/**
 * Converts any thrown value to a fault. A foreign error is a bug: it is logged in full, and reported with an incident
 * id only, because its text may contain a secret or a host path.
 */
export function asFault(error: unknown, log: (line: string) => void): ContreeError {
  if (isFault(error)) return error;
  const incident = randomUUID().slice(0, 8);
  log(`incident ${incident}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  return fault('INTERNAL', { incident });
}

/** Returns the hint for an operation that ended FAILED, from the table row of its code. */
export function hintOf(code: string | undefined): string | undefined {
  return code !== undefined && code in ERRORS ? ERRORS[code as ErrorCode].hint : undefined;
}

/** Returns the fault that an operation ended with; `detail` adds details known to the caller. */
export function operationFault(operation: OperationResponse, detail: Detail = {}): ContreeError {
  const { uuid, kind, metadata, error, error_code: code = 'REMOTE_FAILED' } = operation;
  const what = 'build' in metadata ? 'build' : 'import';
  const message = `${kind === 'instance' ? 'run' : what} ${uuid} failed: ${error ?? 'no reason was given'}`;
  const known =
    faultFromReport({ code, message, detail }) ?? faultFromReport({ code: 'REMOTE_FAILED', message, detail });
  return defined(known, 'REMOTE_FAILED is in the table');
}

/**
 * Returns the fault of a call with an image and a path; of a file that is missing, with the files of similar names in the
 * nearest directory that exists.
 */
export async function withClosestFiles(
  error: unknown,
  { image }: Readonly<Record<string, unknown>>,
  contree: ConTree,
  signal: AbortSignal,
): Promise<unknown> {
  if (!isFault(error, 'FILE_NOT_FOUND') || typeof image !== 'string') return error;
  const { path, nearest } = error.detail;
  if (typeof path !== 'string' || typeof nearest !== 'string') return error;
  const folder = nearest === '/' ? '/' : `${nearest}/`;
  const [missing = ''] = path.startsWith(folder) ? path.slice(folder.length).split('/') : [];
  try {
    const { files } = await contree.files.list(image, { path: nearest, limit: limits.pageMax }, signal);
    const names = closestOf(
      missing,
      files.map((file) => file.path),
    ).slice(0, CLOSEST_SHOWN_MAX);
    if (names.length === 0) return error;
    const closest = names.map((name) => JSON.stringify(folder + name)).join(', ');
    return fault('FILE_NOT_FOUND', { path, nearest, closest }, { cause: error });
  } catch (other) {
    // The suggestion is an extra; what failed is told without it.
    if (isFault(other)) return error;
    throw other;
  }
}
