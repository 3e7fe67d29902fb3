const BLOCK_BYTES = 512;
const FILE_MODE = 0o644;
const encoder = new TextEncoder();

/** @typedef {{ readonly path: string, readonly file: Blob & { readonly lastModified?: number } }} TarFile */

/**
 * Returns a tar archive (POSIX.1-2001, pax) of files. Their contents are read only when the archive is: it takes no memory.
 * Browsers tell neither modes nor owners, so all files have mode 0644.
 * @param {readonly TarFile[]} files
 */
export function tarOf(files) {
  /** @type {BlobPart[]} */
  const parts = files.flatMap(({ path, file }) => {
    const seconds = Math.floor((file.lastModified ?? 0) / 1_000);
    const record = paxRecord('path', path);
    return [
      header('././@PaxHeader', { type: 'x', size: record.length, seconds }),
      padded(record),
      // Readers take the path of the record.
      header('file', { type: '0', size: file.size, seconds }),
      file,
      padding(file.size),
    ];
  });
  return new Blob([...parts, new Uint8Array(2 * BLOCK_BYTES)], { type: 'application/octet-stream' });
}

/**
 * Returns a pax record: its own length in decimal, a space, and `NAME=value` with a line feed.
 * @param {string} name
 * @param {string} value
 */
function paxRecord(name, value) {
  const rest = encoder.encode(` ${name}=${value}\n`);
  let length = rest.length;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  const record = new Uint8Array(length);
  record.set(encoder.encode(String(length)));
  record.set(rest, String(length).length);
  return record;
}

/**
 * @param {string} name
 * @param {{ type: '0' | 'x', size: number, seconds: number }} facts
 */
function header(name, { type, size, seconds }) {
  const block = new Uint8Array(BLOCK_BYTES);
  const put = (/** @type {number} */ at, /** @type {string} */ text) => block.set(encoder.encode(text), at);
  const octal = (/** @type {number} */ value, /** @type {number} */ digits) => value.toString(8).padStart(digits, '0');
  put(0, name);
  put(100, octal(FILE_MODE, 7));
  put(108, octal(0, 7));
  put(116, octal(0, 7));
  put(124, octal(size, 11));
  put(136, octal(seconds, 11));
  put(148, ' '.repeat(8));
  put(156, type);
  put(257, 'ustar\u000000');
  put(
    148,
    `${octal(
      block.reduce((sum, byte) => sum + byte, 0),
      6,
    )}\0 `,
  );
  return block;
}

/** @param {Uint8Array<ArrayBuffer>} bytes */
function padded(bytes) {
  const whole = new Uint8Array(Math.ceil(bytes.length / BLOCK_BYTES) * BLOCK_BYTES);
  whole.set(bytes);
  return whole;
}

/** @param {number} size */
function padding(size) {
  return new Uint8Array((BLOCK_BYTES - (size % BLOCK_BYTES)) % BLOCK_BYTES);
}
