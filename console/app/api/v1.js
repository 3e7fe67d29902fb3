/**
 * Each function that has the type of a method of `ContreeServer` takes and answers what that method's row of the API table
 * says. The others say why they differ.
 * @import { ContreeServer } from '../../../src/contract/contree.ts'
 */
import { request } from './session.js';

/** @typedef {Record<string, string | number | boolean | readonly string[] | Date | undefined>} Query */

/**
 * @param {string} path below `/v1`, its parts encoded
 * @param {Query} [query] true is a flag, undefined is omitted
 */
export function v1(path, query = {}) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value === undefined || value === false || value === '') continue;
    for (const entry of Array.isArray(value) ? value : [value]) search.append(name, text(entry));
  }
  const encoded = search.toString();
  return `v1${path}${encoded === '' ? '' : `?${encoded}`}`;
}

/** @param {string | number | true | Date} value */
function text(value) {
  if (value === true) return '1';
  return value instanceof Date ? value.toISOString() : String(value);
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
 * @param {{ body?: unknown, signal?: AbortSignal | undefined }} options
 * @returns {Promise<any>} a value of the type that the callers below declare
 */
async function change(method, address, { body, signal }) {
  const json = body !== undefined && { headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) };
  const response = await request(address, { method, ...json, ...(signal && { signal }) });
  return response.headers.get('content-type')?.startsWith('application/json') ? await response.json() : undefined;
}

/** @type {ContreeServer['system']['whoami']} */
export const whoami = (signal) => get(v1('/whoami'), signal);

/** @type {ContreeServer['system']['doctor']} */
export const doctor = (query, signal) => get(v1('/doctor', query), signal);

/** @type {ContreeServer['system']['gc']} */
export const gc = (body = {}, signal) => change('POST', v1('/gc'), { body, signal });

/** @type {ContreeServer['images']['list']} */
export const listImages = async (query, signal) => (await get(v1('/images', query), signal)).images;

/** @type {ContreeServer['images']['lineage']} */
export const lineage = (image, signal) => get(v1(`/images/${encodeURIComponent(image)}/lineage`), signal);

/** @type {ContreeServer['tags']['set']} */
export const setTag = (image, body, signal) => change('PATCH', v1(`/images/${image}/tag`), { body, signal });

/** @type {ContreeServer['tags']['remove']} */
export const removeTag = (image, query, signal) => change('DELETE', v1(`/images/${image}/tag`, query), { signal });

/** @type {ContreeServer['images']['delete']} */
export const deleteImage = async (image, query, signal) =>
  (await change('DELETE', v1(`/images/${image}`, query), { signal })).deleted;

/** @type {ContreeServer['images']['import']} */
export const importImage = (body, signal) => change('POST', v1('/images/import'), { body, signal });

/** @type {ContreeServer['images']['build']} */
export const startBuild = (body = {}, signal) => change('POST', v1('/builds'), { body, signal });

/**
 * Uploads a file and returns its UUID. Browsers upload a `Blob`, not an async iterable.
 * @param {Blob} content
 * @returns {Promise<string>}
 */
export async function uploadFile(content) {
  const headers = { 'Content-Type': 'application/octet-stream' };
  return (await (await request(v1('/files'), { method: 'POST', headers, body: content })).json()).uuid;
}

/**
 * Uploads an archive and starts its import: two methods in one.
 * @param {Blob} archive
 * @param {string} name
 * @param {string | undefined} tag
 * @returns {ReturnType<ContreeServer['images']['importArchive']>}
 */
export async function importArchive(archive, name, tag) {
  const file = await uploadFile(archive);
  const body = { file, name, ...(tag !== undefined && { tag }) };
  return await change('POST', v1('/images/import-archive'), { body });
}

/** @type {ContreeServer['files']['stat']} */
export const stat = (image, query, signal) => get(v1(`/inspect/${image}/stat`, query), signal);

/** @type {ContreeServer['files']['list']} */
export const listDirectory = (image, query, signal) => get(v1(`/inspect/${image}/list`, query), signal);

/**
 * Reads a part of a file, and the size of the whole. The views want the bytes at once, not the method's stream of them.
 * @param {string} image
 * @param {Parameters<ContreeServer['files']['read']>[1]} query
 * @param {AbortSignal} [signal]
 * @returns {Promise<{ bytes: Uint8Array, size: number }>}
 */
export async function readFile(image, query, signal) {
  const response = await request(v1(`/inspect/${image}/download`, query), signal ? { signal } : {});
  const size = Number(response.headers.get('x-file-size') ?? 0);
  return { bytes: new Uint8Array(await response.arrayBuffer()), size };
}

/**
 * Searches file contents. What to search for is text from the page's address, which only the server checks.
 * @param {string} image
 * @param {Query} query
 * @param {AbortSignal} [signal]
 * @returns {ReturnType<ContreeServer['files']['grep']>}
 */
export const grep = (image, query, signal) => get(v1(`/inspect/${image}/grep`, query), signal);

/** @type {ContreeServer['images']['diff']} */
export const diff = (image, query, signal) => get(v1(`/inspect/${image}/diff`, query), signal);

/**
 * Lists operations. The filters are text from the page's address, which only the server checks.
 * @param {Query} query
 * @param {AbortSignal} [signal]
 * @returns {ReturnType<ContreeServer['operations']['list']>}
 */
export const listOperations = (query, signal) => get(v1('/operations', query), signal);

/** @type {ContreeServer['operations']['get']} */
export const getOperation = (operation, query, signal) => get(v1(`/operations/${operation}`, query), signal);

/** @type {ContreeServer['operations']['cancel']} */
export const cancelOperation = (operation, signal) => change('DELETE', v1(`/operations/${operation}`), { signal });

/** @type {ContreeServer['runs']['start']} */
export const spawn = (body, signal) => change('POST', v1('/instances'), { body, signal });

/** @type {ContreeServer['instances']['open']} */
export const openInstance = (body, signal) => change('POST', v1('/instances/open'), { body, signal });

/** @type {ContreeServer['instances']['list']} */
export const listInstances = (query, signal) => get(v1('/instances', query), signal);

/** @type {ContreeServer['instances']['get']} */
export const getInstance = (instance, signal) => get(v1(`/instances/${instance}`), signal);

/** @type {ContreeServer['instances']['close']} */
export const closeInstance = (instance, body = {}, signal) =>
  change('POST', v1(`/instances/${instance}/close`), { body, signal });

/** @type {ContreeServer['instances']['snapshot']} */
export const snapshotInstance = (instance, body = {}, signal) =>
  change('POST', v1(`/instances/${instance}/snapshot`), { body, signal });

/** @type {ContreeServer['instances']['publish']} */
export const publishPort = (instance, body, signal) =>
  change('POST', v1(`/instances/${instance}/ports`), { body, signal });

/** @type {ContreeServer['instances']['unpublish']} */
export const unpublishPort = (instance, port, signal) =>
  change('DELETE', v1(`/instances/${instance}/ports/${port}`), { signal });

/** @type {ContreeServer['pages']['link']} */
export const linkToPort = (instance, port, signal) =>
  change('POST', v1(`/instances/${instance}/ports/${port}/link`), { signal });

/** @type {ContreeServer['processes']['start']} */
export const startProcess = (operation, body, signal) =>
  change('POST', v1(`/operations/${operation}/subprocesses`), { body, signal });

/** @type {ContreeServer['processes']['write']} */
export const writeProcess = (operation, spid, body, signal) =>
  change('POST', v1(`/operations/${operation}/subprocesses/${spid}/stdin`), { body, signal });

/** @type {ContreeServer['processes']['resize']} */
export const resizeProcess = (operation, spid, body, signal) =>
  change('POST', v1(`/operations/${operation}/subprocesses/${spid}/resize`), { body, signal });

/** @type {ContreeServer['processes']['kill']} */
export const killProcess = (operation, spid, query, signal) =>
  change('DELETE', v1(`/operations/${operation}/subprocesses/${spid}`, query), { signal });

/**
 * Returns the metrics of the server in the Prometheus text format. They are not part of `/v1`.
 * @param {AbortSignal} [signal]
 */
export async function metricsText(signal) {
  return await (await request('metrics', signal ? { signal } : {})).text();
}
