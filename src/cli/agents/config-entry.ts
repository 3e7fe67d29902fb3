import { isDeepStrictEqual } from 'node:util';
import { isObject, valueAt, type ConfigFormat, type Path } from './config-formats.ts';

/** One entry of a configuration file of somebody else. */
export interface EntryPlace {
  readonly format: ConfigFormat;
  readonly path: Path;
}

/** Keys by which the same entry would be a server that is reached over HTTP. */
const OF_HTTP = ['url', 'serverUrl', 'httpUrl', 'uri', 'headers', 'http_headers', 'bearer_token_env_var'];

type Fields = Readonly<Record<string, unknown>>;

/**
 * The text with these fields in the entry, and those of `usual` that it lacks. What else its owner wrote there stays,
 * unless it contradicts. Throws an Error that says why when the text is malformed or cannot be edited without harm to
 * the rest.
 */
export function putEntry({ format, path }: EntryPlace, text: string, fields: Fields, usual: Fields = {}): string {
  const [mark, body] = withoutMark(text);
  const before = read(format, body);
  for (let depth = 1; depth < path.length; depth += 1) {
    const value = valueAt(before, path.slice(0, depth)) ?? {};
    if (!isObject(value)) throw new Error(`${path.slice(0, depth).join('.')} is not a group of entries`);
  }
  const entry = valueAt(before, path);
  const old = isObject(entry) ? entry : {};
  const stale = OF_HTTP.filter((key) => key in old).map((key) => [key, undefined] as const);
  const wanted = { ...fields, ...usual, ...pick(old, Object.keys(usual)) };
  const changed = Object.entries(wanted).filter(([key, value]) => !isDeepStrictEqual(plain(old[key]), plain(value)));
  const changes = Object.fromEntries([...stale, ...changed]);
  if (Object.keys(changes).length === 0) return text;
  const kept = pick(
    old,
    Object.keys(old).filter((key) => !OF_HTTP.includes(key)),
  );
  const base = entry === undefined || isObject(entry) ? body : format.take(body, path);
  return mark + checked({ format, path }, body, format.put(base, path, changes), { ...kept, ...wanted });
}

/** The text without the entry. Throws as `putEntry` does. */
export function takeEntry({ format, path }: EntryPlace, text: string): string {
  const [mark, body] = withoutMark(text);
  if (valueAt(read(format, body), path) === undefined) return text;
  return mark + checked({ format, path }, body, format.take(body, path), undefined);
}

function read(format: ConfigFormat, text: string): Fields {
  const value = format.parse(text);
  if (!isObject(value)) throw new Error('it does not hold a group of entries');
  return value;
}

/** The edited text, if it says what it should: our entry as wanted, and all else as before. */
function checked({ format, path }: EntryPlace, before: string, after: string, wanted: unknown): string {
  const value = read(format, after);
  const same = isDeepStrictEqual(without(value, path), without(read(format, before), path));
  if (!same || !isDeepStrictEqual(plain(valueAt(value, path)), plain(wanted))) {
    throw new Error(`${path.join('.')} is written in a way that cannot be edited without harm to the rest`);
  }
  return after;
}

/** The value without what is at the path, and without the groups that are empty then. */
function without(value: unknown, path: Path): unknown {
  const [key = '', ...rest] = path;
  if (!isObject(value)) return value ?? undefined;
  const inner = rest.length === 0 ? undefined : without(value[key], rest);
  const left = Object.entries(value).filter(([name]) => name !== key);
  const all = inner === undefined ? left : [...left, [key, inner] as const];
  return all.length === 0 ? undefined : plain(Object.fromEntries(all.toSorted(([one], [two]) => (one < two ? -1 : 1))));
}

function pick(value: Fields, keys: readonly string[]): Fields {
  return Object.fromEntries(Object.entries(value).filter(([key]) => keys.includes(key)));
}

/** Parsers differ in the prototypes of what they return. */
function plain(value: unknown): unknown {
  return value === undefined ? undefined : JSON.parse(JSON.stringify(value));
}

/** A byte order mark is no part of any of the formats, but some editors write one. */
function withoutMark(text: string): readonly [mark: string, body: string] {
  return text.startsWith('\uFEFF') ? ['\uFEFF', text.slice(1)] : ['', text];
}
