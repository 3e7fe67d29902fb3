/**
 * A place in the console: what stands behind `#`. `#/images/UUID/files?path=/etc` has the path
 * `['images', UUID, 'files']`.
 * @typedef {{ readonly path: readonly string[], readonly query: URLSearchParams }} Route
 */

/**
 * @param {string} hash
 * @returns {Route}
 */
export function parseRoute(hash) {
  const [path = '', query = ''] = hash.replace(/^#\/?/u, '').split(/\?(.*)/su);
  return { path: path.split('/').filter(Boolean).map(decode), query: new URLSearchParams(query) };
}

/** @param {string} text */
function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/**
 * The address of a place.
 * @param {readonly string[]} path
 * @param {Record<string, string | number | undefined>} [query] entries that are undefined or empty are left out
 */
export function href(path, query = {}) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== '') search.set(name, String(value));
  }
  const text = search.toString();
  return `#/${path.map(encodeURIComponent).join('/')}${text === '' ? '' : `?${text}`}`;
}

/** @param {string} address */
export function go(address) {
  location.hash = address;
}
