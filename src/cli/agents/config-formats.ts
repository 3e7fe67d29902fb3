import {
  applyEdits,
  findNodeAtLocation,
  modify,
  parse,
  parseTree,
  printParseErrorCode,
  type ParseError,
} from 'jsonc-parser';
import { parse as parseToml } from 'smol-toml';
import { parseDocument } from 'yaml';
import { present } from '../../std/present.ts';

/** Keys that lead from the root of a file to one of its entries. */
export type Path = readonly string[];
/** Values to set by key; undefined removes the key. */
export type Changes = Readonly<Record<string, unknown>>;

/** Configuration format that people edit by hand, so comments and order are kept. */
export interface ConfigFormat {
  /** Parses the text; an empty text gives `{}`. Throws when it is malformed. */
  readonly parse: (text: string) => unknown;
  /** Changes keys of the entry at `path`, which is created if missing. Everything else stays, comments included. */
  readonly put: (text: string, path: Path, changes: Changes) => string;
  /** Removes the entry. */
  readonly take: (text: string, path: Path) => string;
}

const eolOf = (text: string): string => (text.includes('\r\n') ? '\r\n' : '\n');

/** JSON with optional comments and trailing commas. */
const JSONC: ConfigFormat = {
  parse: (text) => {
    const errors: ParseError[] = [];
    const value: unknown = text.trim() === '' ? {} : parse(text, errors, { allowTrailingComma: true });
    const [first] = errors;
    if (first === undefined) return value;
    const line = text.slice(0, first.offset).split('\n').length;
    throw new Error(`line ${line}: ${printParseErrorCode(first.error)}`);
  },
  put: (text, path, changes) => {
    const source = text.trim() === '' ? '{}\n' : text;
    if (valueAt(JSONC.parse(source), path) === undefined) return editJson(source, path, present(changes));
    return Object.entries(changes).reduce((edited, [key, value]) => editJson(edited, [...path, key], value), source);
  },
  take: removeJson,
};

function editJson(text: string, path: Path, value: unknown): string {
  const [, indent = '  '] = /\n([ \t]+)\S/u.exec(text) ?? [];
  const insertSpaces = !indent.startsWith('\t');
  const formattingOptions = { insertSpaces, tabSize: insertSpaces ? indent.length : 4, eol: eolOf(text) };
  // A file on a single line stays on a single line.
  const formatted = text.trimEnd().includes('\n') || text.trim() === '{}';
  const edits = modify(text, [...path], value, {
    ...(formatted && { formattingOptions }),
    // The last property may be followed by a comment about it, which would then follow ours.
    getInsertionIndex: () => 0,
  });
  return applyEdits(text, edits);
}

/** Removes a property and the comma after it; the library's own removal also reformats its neighbours. */
function removeJson(text: string, path: Path): string {
  const tree = parseTree(text, [], { allowTrailingComma: true });
  const property = tree && findNodeAtLocation(tree, [...path])?.parent;
  const [comma] =
    (property && /^\s*,[ \t]*(?:\r?\n[ \t]*)?/u.exec(text.slice(property.offset + property.length))) ?? [];
  const last = property === property?.parent?.children?.at(-1);
  if (property === undefined || comma === undefined || last) return editJson(text, path, undefined);
  return text.slice(0, property.offset) + text.slice(property.offset + property.length + comma.length);
}

const YAML: ConfigFormat = {
  parse: (text) => {
    const document = parseDocument(text);
    const [error] = document.errors;
    if (error !== undefined) throw new Error(error.message.split('\n', 1)[0]);
    return document.toJS() ?? {};
  },
  put: (text, path, changes) => {
    const document = parseDocument(text);
    const parents = path.slice(0, -1);
    // `extensions:` with nothing below it parses as null, to which no key can be added.
    if (document.getIn(parents) === null) document.setIn(parents, document.createNode({}));
    for (const [key, value] of Object.entries(changes)) {
      if (value === undefined) document.deleteIn([...path, key]);
      else document.setIn([...path, key], document.createNode(value));
    }
    return document.toString({ lineWidth: 0 });
  },
  take: (text, path) => {
    const document = parseDocument(text);
    document.deleteIn(path);
    return document.toString({ lineWidth: 0 });
  },
};

/**
 * TOML, in which an entry is a table with its own header. It is edited line by line because no library keeps comments.
 */
const TOML: ConfigFormat = {
  parse: (text) => {
    try {
      return parseToml(text);
    } catch (error) {
      throw new Error(error instanceof Error ? error.message.split('\n', 1)[0] : String(error), { cause: error });
    }
  },
  put: (text, path, changes) => {
    const lines = text.split(/\r?\n/u);
    const [table] = tablesOf(lines, path, 'exact');
    const eol = eolOf(text);
    if (table === undefined) {
      const rows = Object.entries(present(changes)).map(([key, value]) => `${key} = ${JSON.stringify(value)}`);
      const before = text.trimEnd();
      return [...(before === '' ? [] : [before, '']), `[${path.join('.')}]`, ...rows, ''].join(eol);
    }
    const body = lines.slice(table.start + 1, table.end);
    for (const [key, value] of Object.entries(changes)) changeKey(body, key, value);
    return [...lines.slice(0, table.start + 1), ...body, ...lines.slice(table.end)].join(eol);
  },
  take: (text, path) => {
    const lines = text.split(/\r?\n/u);
    for (const { start, end } of tablesOf(lines, path, 'below').toReversed()) lines.splice(start, end - start);
    return lines.join(eolOf(text));
  },
};

/** The formats by name. */
export const FORMATS = { jsonc: JSONC, yaml: YAML, toml: TOML } satisfies Record<string, ConfigFormat>;

export type FormatName = keyof typeof FORMATS;

interface Table {
  /** Index of the header line. */
  readonly start: number;
  /** Index after the last line of the table; comments above the next header belong to that header. */
  readonly end: number;
}

/** Returns the table at a path, or also the tables below it. */
function tablesOf(lines: readonly string[], path: Path, which: 'exact' | 'below'): readonly Table[] {
  const key = path.map((part) => `(?:${part}|"${part}"|'${part}')`).join(String.raw`\s*\.\s*`);
  const more = which === 'below' ? String.raw`(?:\s*\.[^\]]*)?` : '';
  const ours = new RegExp(String.raw`^\s*\[\s*${key}${more}\s*\]\s*(?:#.*)?$`, 'u');
  const headers = lines.flatMap((line, index) => (/^\s*\[/u.test(line) ? [index] : []));
  return headers
    .filter((start) => ours.test(lines[start] ?? ''))
    .map((start) => {
      let end = headers.find((index) => index > start) ?? lines.length;
      while (end > start + 1 && /^\s*(?:#.*)?$/u.test(lines[end - 1] ?? '')) end -= 1;
      return { start, end };
    });
}

/** Sets or removes one key of a table; its value may span several lines. */
function changeKey(body: string[], key: string, value: unknown): void {
  const row = value === undefined ? [] : [`${key} = ${JSON.stringify(value)}`];
  const start = body.findIndex((line) => new RegExp(String.raw`^\s*(?:${key}|"${key}")\s*=`, 'u').test(line));
  if (start === -1) {
    body.push(...row);
    return;
  }
  let count = 1;
  while (start + count < body.length && !isToml(body.slice(start, start + count).join('\n'))) count += 1;
  body.splice(start, count, ...row);
}

function isToml(text: string): boolean {
  try {
    parseToml(text);
    return true;
  } catch {
    return false;
  }
}

/** Returns the value at a path, or undefined when there is none. */
export function valueAt(value: unknown, path: Path): unknown {
  return path.reduce<unknown>((at, key) => (isObject(at) ? at[key] : undefined), value);
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
