import { parseBytes, parseSeconds } from '../std/sizes.ts';

/** The two programs of the package; both may start the engine, so both take its settings. */
export type Program = 'contree' | 'contree-mcp';

/** Groups of settings, in the order of help and documentation. */
export const SETTING_GROUPS = ['general', 'server', 'engine', 'http', 'cluster', 'mcp'] as const;
export type SettingGroup = (typeof SETTING_GROUPS)[number];

/** One row of the settings table. */
export interface Setting<Value> {
  /** Name of the flag without dashes; the key in the configuration file is the same with underscores. */
  readonly flag: string;
  /** Environment variable; `contree-mcp` also reads `CONTREE_MCP_…`, which takes precedence. */
  readonly env: string;
  readonly default: NoInfer<Value>;
  /** Description of a default that is computed at start. */
  readonly defaultText?: string;
  /** Placeholder of the value in help; a setting without one is a switch. */
  readonly value?: string;
  /** Parses the value. Throws an Error whose message says what was expected. */
  readonly parse: (text: string) => Value;
  readonly doc: string;
  readonly group: SettingGroup;
  readonly programs: readonly Program[];
}

/** Checks at compile time that a row's default has the type its parser returns. */
export function setting<Value>(row: Setting<Value>): Setting<Value> {
  return row;
}

export function text(value: string): string {
  return value;
}

/** Parses a comma-separated list; empty entries are dropped. */
export function list(value: string): readonly string[] {
  return value
    .split(',')
    .map((entry) => entry.trim())
    .filter((entry) => entry !== '');
}

export function oneOf<const Choice extends string>(...choices: readonly Choice[]): (value: string) => Choice {
  return (value) => {
    const found = choices.find((choice) => choice === value.toLowerCase());
    if (found === undefined) throw new Error(`expected ${choices.join(', ')}, got ${JSON.stringify(value)}`);
    return found;
  };
}

const SWITCH: Readonly<Record<string, boolean>> = {
  '': true,
  '1': true,
  true: true,
  yes: true,
  on: true,
  '0': false,
  false: false,
  no: false,
  off: false,
};

export function onOff(value: string): boolean {
  const found = SWITCH[value.toLowerCase()];
  if (found === undefined) throw new Error(`expected true or false, got ${JSON.stringify(value)}`);
  return found;
}

/** Returns a parser of whole numbers between the bounds, both included. */
export function between(min: number, max: number): (value: string) => number {
  return (value) => {
    const number = /^\d{1,15}$/u.test(value) ? Number(value) : Number.NaN;
    if (!(number >= min && number <= max)) {
      throw new Error(`expected a whole number from ${min} to ${max}, got ${JSON.stringify(value)}`);
    }
    return number;
  };
}

/** Returns a parser of times such as `90s`, `30m` or `2h` into seconds between the bounds, both included. */
export function duration(min: number, max: number): (value: string) => number {
  return (value) => {
    const seconds = parseSeconds(value) ?? Number.NaN;
    if (!(seconds >= min && seconds <= max)) {
      const bounds = `from ${min} to ${max} seconds`;
      throw new Error(`expected a time such as 90s, 30m or 2h, ${bounds}, got ${JSON.stringify(value)}`);
    }
    return seconds;
  };
}

/** Parses a size such as `10G` into bytes. */
export function size(value: string): number {
  const bytes = parseBytes(value);
  if (bytes === undefined) throw new Error(`expected a size such as 10G, got ${JSON.stringify(value)}`);
  return bytes;
}

/** Parses an http or https URL and removes trailing slashes and `/v1`; empty means none. */
export function httpUrl(value: string): string {
  if (value === '') return '';
  const url = URL.parse(value);
  if (url === null || !['http:', 'https:'].includes(url.protocol)) {
    throw new Error(`expected an http:// or https:// address, got ${JSON.stringify(value)}`);
  }
  if (url.username !== '' || url.password !== '')
    throw new Error('credentials do not belong in the address; use --token');
  return `${url.origin}${url.pathname}`.replace(/\/+$/u, '').replace(/\/v1$/u, '');
}
