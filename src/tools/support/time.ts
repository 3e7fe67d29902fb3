import { fault } from '../../contract/errors.ts';

const UNIT_MS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };
const AGO = /^(\d{1,9})\s*([smhdw])$/u;

/** Parses a time given as an age (`15m`, `2h`, `7d`) or an ISO time. Throws ARGUMENT_INVALID naming the argument. */
export function parseTime(text: string, argument: string): Date {
  const [, amount, unit = ''] = AGO.exec(text.trim()) ?? [];
  const time = amount === undefined ? Date.parse(text) : Date.now() - Number(amount) * (UNIT_MS[unit] ?? 0);
  if (Number.isNaN(time)) {
    throw fault('ARGUMENT_INVALID', { reason: `argument "${argument}" is neither an age such as 15m nor an ISO time` });
  }
  return new Date(time);
}

/** Returns the given time filters, parsed. */
export function timeFilters(input: { since?: string | undefined; until?: string | undefined }): {
  since?: Date;
  until?: Date;
} {
  return {
    ...(input.since !== undefined && { since: parseTime(input.since, 'since') }),
    ...(input.until !== undefined && { until: parseTime(input.until, 'until') }),
  };
}
