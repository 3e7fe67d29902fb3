/** Parses a size such as `10G`, `500M` or `1024` (binary units) into bytes; returns undefined when it is not a size. */
export function parseBytes(text: string): number | undefined {
  const [, amount, unit = ''] = /^(\d{1,12}(?:\.\d{1,3})?)\s*([kmgt]?)(?:i?b)?$/iu.exec(text.trim()) ?? [];
  if (amount === undefined) return undefined;
  return Math.floor(Number(amount) * 1024 ** ['', 'k', 'm', 'g', 't'].indexOf(unit.toLowerCase()));
}
