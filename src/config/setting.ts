import { parseBytes } from '../std/sizes.ts';

/** The two commands of the package; both may start the engine, so both take its settings. */
export type Program = 'contree' | 'contree-mcp';

/** What a setting is for; the order in which help and docs list them. */
export const SETTING_GROUPS = ['general', 'server', 'engine', 'http', 'mcp'] as const;
export type SettingGroup = (typeof SETTING_GROUPS)[number];

/** One row of the settings table. */
export interface Setting<Value> {
  /** Without dashes; the key in the configuration file is the same with underscores. */
  readonly flag: string;
  /** Environment variable; `contree-mcp` also reads it as `CONTREE_MCP_…`, which wins. */
  readonly env: string;
  readonly default: NoInfer<Value>;
  /** Text of the default where it is worked out at start. */
  readonly defaultText?: string;
  /** Name of the value in help; a setting without one is a switch. */
  readonly value?: string;
  /** Throws an Error whose message says what was expected. */
  readonly parse: (text: string) => Value;
  readonly doc: string;
  readonly group: SettingGroup;
  readonly programs: readonly Program[];
}

/** Ties a row's default to what its parser returns. */
export function setting<Value>(row: Setting<Value>): Setting<Value> {
  return row;
}

export function text(value: string): string {
  return value;
}

/** Comma-separated; empty entries are dropped. */
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

/** A whole number between the bounds, both included. */
export function between(min: number, max: number): (value: string) => number {
  return (value) => {
    const number = /^\d{1,15}$/u.test(value) ? Number(value) : Number.NaN;
    if (!(number >= min && number <= max)) {
      throw new Error(`expected a whole number from ${min} to ${max}, got ${JSON.stringify(value)}`);
    }
    return number;
  };
}

/** A size such as `10G`, in bytes. */
export function size(value: string): number {
  const bytes = parseBytes(value);
  if (bytes === undefined) throw new Error(`expected a size such as 10G, got ${JSON.stringify(value)}`);
  return bytes;
}

/** An http or https address without its trailing slashes and without `/v1`; empty means none. */
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
