import { dockerfileFault } from './faults.ts';

/** Returns the permission bits of a file, from its own ones. */
export type ModeChange = (mode: number, isDirectory: boolean) => number;

const WHO: Readonly<Record<string, number>> = { u: 0o700, g: 0o070, o: 0o007, a: 0o777 };
const CLAUSE = /^(?<who>[ugoa]*)(?<steps>(?:[-+=](?:[ugo]|[rwxXst]*))+)$/u;

/** Parses the value of `--chmod`: octal, or symbolic as of chmod(1). Faults: DOCKERFILE_INVALID. */
export function parseChmod(text: string, line: number): ModeChange {
  if (/^[0-7]{1,5}$/u.test(text) && Number.parseInt(text, 8) <= 0o7777) {
    const mode = Number.parseInt(text, 8);
    return () => mode;
  }
  const clauses = text.split(',').map((clause) => CLAUSE.exec(clause)?.groups);
  if (text.length > 200 || clauses.includes(undefined)) {
    throw dockerfileFault(line, `--chmod=${text.slice(0, 40)} is not a mode such as 0755 or u=rwX,go=rX`);
  }
  return (mode, isDirectory) =>
    clauses.reduce(
      (current, clause) => applyClause(current, clause?.['who'] ?? '', clause?.['steps'] ?? '', isDirectory),
      mode & 0o7777,
    );
}

function applyClause(mode: number, who: string, steps: string, isDirectory: boolean): number {
  const mask = Array.from(who || 'a').reduce((bits, name) => bits | (WHO[name] ?? 0), 0);
  let current = mode;
  for (const [, operator = '', permissions = ''] of steps.matchAll(/([-+=])([ugo]|[rwxXst]*)/gu)) {
    const bits = bitsOf(permissions, current, isDirectory) & (mask | specialBits(mask, who));
    if (operator === '+') current |= bits;
    else if (operator === '-') current &= ~bits;
    else current = (current & ~(mask | specialBits(mask, who))) | bits;
  }
  return current;
}

/** Returns the bits that s and t stand for with these users. */
function specialBits(mask: number, who: string): number {
  const sticky = who === '' || who.includes('a') || who.includes('o') ? 0o1000 : 0;
  return ((mask & 0o700) === 0 ? 0 : 0o4000) | ((mask & 0o070) === 0 ? 0 : 0o2000) | sticky;
}

/** Returns the bits of a step for all users. */
function bitsOf(permissions: string, mode: number, isDirectory: boolean): number {
  const copied = { u: mode >> 6, g: mode >> 3, o: mode }[permissions];
  if (copied !== undefined) return (copied & 7) * 0o111;
  let bits = 0;
  if (permissions.includes('r')) bits |= 0o444;
  if (permissions.includes('w')) bits |= 0o222;
  if (permissions.includes('x')) bits |= 0o111;
  if (permissions.includes('X') && (isDirectory || (mode & 0o111) !== 0)) bits |= 0o111;
  if (permissions.includes('s')) bits |= 0o6000;
  if (permissions.includes('t')) bits |= 0o1000;
  return bits;
}
