import { isDeepStrictEqual } from 'node:util';
import { FORMATS, isObject, valueAt, type FormatName, type Path } from './config-formats.ts';

/** One entry of a configuration file that another program owns. */
export interface EntryPlace {
  readonly format: FormatName;
  readonly path: Path;
}

/** Keys that would make the same entry a server reached over HTTP. */
const OF_HTTP = ['url', 'serverUrl', 'httpUrl', 'uri', 'headers', 'http_headers', 'bearer_token_env_var'];

type Fields = Readonly<Record<string, unknown>>;

/**
 * Returns the text with these fields in the entry, plus the fields of `usual` that it lacks. Other fields of its owner
 * stay unless they contradict. Throws an Error with the reason when the text is malformed or cannot be edited without
 * damage to the rest.
 */
export function putEntry({ format, path }: EntryPlace, text: string, fields: Fields, usual: Fields = {}): string {
  const [mark, body] = withoutMark(text);
  const before = read(format, body);
  for (let depth = 1; depth < path.length; depth += 1) {
    const value = valueAt(before, path.slice(0, depth)) ?? {};
    if (!isObject(value)) throw new Error(`${path.slice(0, depth).join('.')} is not an object`);
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
  const base = entry === undefined || isObject(entry) ? body : FORMATS[format].take(body, path);
  return mark + checked({ format, path }, body, FORMATS[format].put(base, path, changes), { ...kept, ...wanted });
}

/** Returns the text without the entry. Throws as `putEntry` does. */
export function takeEntry({ format, path }: EntryPlace, text: string): string {
  const [mark, body] = withoutMark(text);
  if (valueAt(read(format, body), path) === undefined) return text;
  return mark + checked({ format, path }, body, FORMATS[format].take(body, path), undefined);
}

function read(format: FormatName, text: string): Fields {
  const value = FORMATS[format].parse(text);
  if (!isObject(value)) throw new Error('it is not an object');
  return value;
}

/** Returns the edited text if parsing it gives our entry as wanted and everything else unchanged. */
function checked({ format, path }: EntryPlace, before: string, after: string, wanted: unknown): string {
  const value = read(format, after);
  const same = isDeepStrictEqual(without(value, path), without(read(format, before), path));
  if (!same || !isDeepStrictEqual(plain(valueAt(value, path)), plain(wanted))) {
    throw new Error(`${path.join('.')} is written in a way that cannot be edited without damage to the rest`);
  }
  return after;
}

/** Returns the value without the entry at the path, and without objects that are then empty. */
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

/** Compares by content: parsers differ in the prototypes of the objects they return. */
function plain(value: unknown): unknown {
  return value === undefined ? undefined : JSON.parse(JSON.stringify(value));
}

/** Splits off a byte order mark: it is not part of any of the formats, but some editors write one. */
function withoutMark(text: string): readonly [mark: string, body: string] {
  return text.startsWith('\uFEFF') ? ['\uFEFF', text.slice(1)] : ['', text];
}
