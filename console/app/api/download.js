import { request, token } from './session.js';

/**
 * Saves a response of the server in the user's download folder. Where a token is needed the page fetches the response,
 * because a token in a URL would stay in histories and logs; elsewhere the browser downloads it itself, at any size.
 * @param {string} address
 * @param {string} name proposed file name
 * @returns {Promise<void>}
 */
export async function download(address, name) {
  if (token() === '') return save(address, name);
  const blob = await (await request(address)).blob();
  saveBlob(blob, name);
}

/**
 * @param {Blob} blob
 * @param {string} name
 */
export function saveBlob(blob, name) {
  const address = URL.createObjectURL(blob);
  save(address, name);
  // The browser has read the URL by then.
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/**
 * @param {string} address
 * @param {string} name
 */
function save(address, name) {
  const link = document.createElement('a');
  link.href = address;
  link.download = name.replaceAll(/[^\w.+@-]+/gu, '_') || 'download';
  link.click();
}
