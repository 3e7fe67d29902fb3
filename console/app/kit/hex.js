const ROW = 16;

/**
 * @param {Uint8Array} bytes
 * @param {number} offset of the first one, for the left column
 * @returns {string} as `hexdump -C` writes them
 */
export function hexDump(bytes, offset) {
  /** @type {string[]} */
  const lines = [];
  for (let at = 0; at < bytes.length; at += ROW) {
    const row = [...bytes.subarray(at, at + ROW)];
    const hex = row.map((byte) => byte.toString(16).padStart(2, '0'));
    const left = `${hex.slice(0, 8).join(' ')}  ${hex.slice(8).join(' ')}`.padEnd(ROW * 3);
    const text = row.map((byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : '.')).join('');
    lines.push(`${(offset + at).toString(16).padStart(8, '0')}  ${left}  |${text}|`);
  }
  return lines.join('\n');
}

/**
 * Reports whether bytes are better shown in hexadecimal: they contain NUL, or are not UTF-8 except for a character cut
 * at the end of the part.
 * @param {Uint8Array} bytes
 */
export function looksBinary(bytes) {
  if (bytes.includes(0)) return true;
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream: true });
    return false;
  } catch {
    // A part may also begin in the middle of a character.
    const text = new TextDecoder().decode(bytes);
    return text.split('\ufffd').length - 1 > Math.max(3, text.length / 100);
  }
}
