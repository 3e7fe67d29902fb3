import { dockerfileFault } from './faults.ts';

const UNIT_NS: Readonly<Record<string, number>> = {
  ns: 1,
  us: 1e3,
  µs: 1e3,
  ms: 1e6,
  s: 1e9,
  m: 60e9,
  h: 3_600e9,
};
const NS_MIN = 1e6;
const NS_MAX = Number.MAX_SAFE_INTEGER;

/**
 * Parses a duration as Go writes it (`1m30s`, `1.5h`); 0 for an absent one. Faults: DOCKERFILE_INVALID, also for one below
 * 1 ms.
 */
export function nanoseconds(text: string | undefined, name: string, line: number): number {
  if (text === undefined || text === '0') return 0;
  const parts = [...text.slice(0, 100).matchAll(/(\d{1,15}(?:\.\d{1,9})?)(ns|us|µs|ms|s|m|h)/gu)];
  const whole = parts.map(([part]) => part).join('');
  const total = parts.reduce((sum, [, amount, unit]) => sum + Number(amount) * (UNIT_NS[unit ?? ''] ?? 0), 0);
  if (whole === '' || whole !== text || total > NS_MAX) {
    throw dockerfileFault(line, `--${name}=${text.slice(0, 40)} is not a duration such as 30s or 1m30s`);
  }
  if (total > 0 && total < NS_MIN) throw dockerfileFault(line, `--${name}=${text} is shorter than 1ms`);
  return Math.round(total);
}
