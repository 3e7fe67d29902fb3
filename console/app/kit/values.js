/**
 * @param {string} text one entry in a line
 * @returns {string[]} without blank ones
 */
export function linesOf(text) {
  return text.split(/\r?\n/u).filter((line) => line.trim() !== '');
}

/**
 * @param {string} text `NAME=value` in each line
 * @returns {Record<string, string>} a line without `=` is a name with an empty value
 */
export function pairsOf(text) {
  return Object.fromEntries(
    linesOf(text).map((line) => {
      const at = line.indexOf('=');
      return at === -1 ? [line.trim(), ''] : [line.slice(0, at).trim(), line.slice(at + 1)];
    }),
  );
}
