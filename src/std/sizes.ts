/** `10G`, `500M`, `1024`: bytes in binary units; undefined when it is none. */
export function parseBytes(text: string): number | undefined {
  const [, amount, unit = ''] = /^(\d{1,12}(?:\.\d{1,3})?)\s*([kmgt]?)(?:i?b)?$/iu.exec(text.trim()) ?? [];
  if (amount === undefined) return undefined;
  return Math.floor(Number(amount) * 1024 ** ['', 'k', 'm', 'g', 't'].indexOf(unit.toLowerCase()));
}
