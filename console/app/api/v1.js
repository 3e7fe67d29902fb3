/**
 * @import { Image, ImageImportRequest, Lineage } from '../../../src/contract/image.ts'
 * @import { DiffResult, DirectoryList, FileItem, GrepResult } from '../../../src/contract/inspect.ts'
 * @import { OperationResponse, OperationSummary } from '../../../src/contract/operation.ts'
 * @import { InstanceSpawnRequest } from '../../../src/contract/run.ts'
 * @import { DoctorReport, GcReport, WhoAmIResponse } from '../../../src/contract/server.ts'
 */
import { request } from './session.js';

/** @typedef {Record<string, string | number | boolean | readonly string[] | undefined>} Query */

/**
 * @param {string} path below `/v1`, its parts encoded
 * @param {Query} [query] true is a flag, undefined is omitted
 */
export function v1(path, query = {}) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value === undefined || value === false || value === '') continue;
    for (const entry of Array.isArray(value) ? value : [value])
      search.append(name, entry === true ? '1' : String(entry));
  }
  const text = search.toString();
  return `v1${path}${text === '' ? '' : `?${text}`}`;
}

/**
 * @param {string} address
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>} a value of the type that the callers below declare
 */
async function get(address, signal) {
  return await (await request(address, signal ? { signal } : {})).json();
}

/**
 * @param {'POST' | 'PATCH' | 'DELETE'} method
 * @param {string} address
 * @param {unknown} [body]
 * @returns {Promise<any>}
 */
async function change(method, address, body) {
  const json = body !== undefined && { headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) };
  const response = await request(address, { method, ...json });
  return response.headers.get('content-type')?.startsWith('application/json') ? await response.json() : undefined;
}

/**
 * @param {AbortSignal} [signal]
 * @returns {Promise<WhoAmIResponse>}
 */
export const whoami = (signal) => get(v1('/whoami'), signal);

/**
 * @param {boolean} verify also read the whole store
 * @param {AbortSignal} [signal]
 * @returns {Promise<DoctorReport>}
 */
export const doctor = (verify, signal) => get(v1('/doctor', { verify }), signal);

/**
 * Returns what uses space; removes unused data only with `remove`.
 * @param {{ remove: boolean }} options
 * @returns {Promise<GcReport>}
 */
export const gc = ({ remove }) => change('POST', v1('/gc'), remove ? {} : { dry_run: true });

/**
 * @param {Query} query
 * @param {AbortSignal} [signal]
 * @returns {Promise<Image[]>}
 */
export async function listImages(query, signal) {
  return (await get(v1('/images', query), signal)).images;
}

/**
 * @param {string} image UUID or `tag:NAME`
 * @param {AbortSignal} [signal]
 * @returns {Promise<Lineage>}
 */
export const lineage = (image, signal) => get(v1(`/images/${encodeURIComponent(image)}/lineage`), signal);

/**
 * @param {string} image
 * @param {string} tag
 * @returns {Promise<Image>}
 */
export const setTag = (image, tag) => change('PATCH', v1(`/images/${image}/tag`), { tag });

/**
 * @param {string} image
 * @param {string} tag
 */
export const removeTag = (image, tag) => change('DELETE', v1(`/images/${image}/tag`, { tag }));

/**
 * @param {string} image
 * @param {boolean} cascade also delete the images made from it
 * @returns {Promise<{ deleted: string[] }>}
 */
export const deleteImage = (image, cascade) => change('DELETE', v1(`/images/${image}`, { cascade }));

/**
 * @param {ImageImportRequest} body
 * @returns {Promise<{ uuid: string }>} the operation
 */
export const importImage = (body) => change('POST', v1('/images/import'), body);

/**
 * @param {Blob} archive
 * @param {string} name
 * @param {string | undefined} tag
 * @returns {Promise<{ uuid: string }>} the operation
 */
export async function importArchive(archive, name, tag) {
  const headers = { 'Content-Type': 'application/octet-stream' };
  const { uuid: file } = await (await request(v1('/files'), { method: 'POST', headers, body: archive })).json();
  return await change('POST', v1('/images/import-archive'), { file, name, ...(tag !== undefined && { tag }) });
}

/**
 * @param {string} image
 * @param {string} path
 * @param {AbortSignal} [signal]
 * @returns {Promise<FileItem>}
 */
export const stat = (image, path, signal) => get(v1(`/inspect/${image}/stat`, { path }), signal);

/**
 * @param {string} image
 * @param {string} path
 * @param {AbortSignal} [signal]
 * @returns {Promise<DirectoryList>}
 */
export const listDirectory = (image, path, signal) => get(v1(`/inspect/${image}/list`, { path }), signal);

/**
 * Reads a part of a file, and its total size.
 * @param {string} image
 * @param {string} path
 * @param {{ offset: number, length: number }} range
 * @param {AbortSignal} [signal]
 * @returns {Promise<{ bytes: Uint8Array, size: number }>}
 */
export async function readFile(image, path, range, signal) {
  const response = await request(v1(`/inspect/${image}/download`, { path, ...range }), signal ? { signal } : {});
  const size = Number(response.headers.get('x-file-size') ?? 0);
  return { bytes: new Uint8Array(await response.arrayBuffer()), size };
}

/**
 * @param {string} image
 * @param {Query} query
 * @param {AbortSignal} [signal]
 * @returns {Promise<GrepResult>}
 */
export const grep = (image, query, signal) => get(v1(`/inspect/${image}/grep`, query), signal);

/**
 * @param {string} from
 * @param {string} to
 * @param {Query} query
 * @param {AbortSignal} [signal]
 * @returns {Promise<DiffResult>}
 */
export const diff = (from, to, query, signal) => get(v1(`/inspect/${from}/diff`, { to, ...query }), signal);

/**
 * @param {Query} query
 * @param {AbortSignal} [signal]
 * @returns {Promise<OperationSummary[]>}
 */
export const listOperations = (query, signal) => get(v1('/operations', query), signal);

/**
 * @param {string} operation
 * @param {AbortSignal} [signal]
 * @returns {Promise<OperationResponse>}
 */
export const getOperation = (operation, signal) => get(v1(`/operations/${operation}`), signal);

/** @param {string} operation */
export const cancelOperation = (operation) => change('DELETE', v1(`/operations/${operation}`));

/**
 * @param {InstanceSpawnRequest} body
 * @returns {Promise<{ uuid: string }>} the operation
 */
export const spawn = (body) => change('POST', v1('/instances'), body);

/**
 * Returns the metrics of the server in the Prometheus text format.
 * @param {AbortSignal} [signal]
 */
export async function metricsText(signal) {
  return await (await request('metrics', signal ? { signal } : {})).text();
}
