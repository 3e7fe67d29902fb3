/** Parses a size such as `10G`, `500M` or `1024` (binary units) into bytes; returns undefined when it is not a size. */
export function parseBytes(text: string): number | undefined {
  const [, amount, unit = ''] = /^(\d{1,12}(?:\.\d{1,3})?)\s*([kmgt]?)(?:i?b)?$/iu.exec(text.trim()) ?? [];
  if (amount === undefined) return undefined;
  return Math.floor(Number(amount) * 1024 ** ['', 'k', 'm', 'g', 't'].indexOf(unit.toLowerCase()));
}

const UNIT_SECONDS: Readonly<Record<string, number>> = { '': 1, s: 1, m: 60, h: 3_600, d: 86_400 };

/** Parses a time such as `90`, `90s`, `30m`, `2h` or `1d` into seconds; undefined for anything else. */
export function parseSeconds(text: string): number | undefined {
  const [, amount, unit = ''] = /^(\d{1,9})([smhd]?)$/u.exec(text) ?? [];
  return amount === undefined ? undefined : Number(amount) * (UNIT_SECONDS[unit] ?? 1);
}
