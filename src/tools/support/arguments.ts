import { z } from 'zod';
import { fault } from '../../contract/errors.ts';
import type { Tool } from './tool.ts';
import { parsedJson } from '../../std/json.ts';

/** Arguments that passed the tool's schema, and a remark about unknown ones. */
export interface ParsedArguments {
  readonly input: Record<string, unknown>;
  /** Remark such as `ignored argument 'tag_prefx'; did you mean tag_prefix?` */
  readonly remark?: string;
}

/**
 * Parses arguments from a model. Unknown arguments are accepted (clients inject some) but reported; a string where a
 * number, boolean, list or object is expected is converted. Throws ARGUMENT_INVALID naming every invalid argument.
 */
export function parseArguments(tool: Tool, raw: unknown): ParsedArguments {
  const given = rename(tool, isRecord(raw) ? raw : {});
  const known = Object.keys(tool.input.shape);
  const lenient = Object.fromEntries(
    Object.entries(given).filter(([name, value]) => known.includes(name) && value !== null),
  );
  const parsed = z.safeParse(tool.input, readLeniently(tool, lenient));
  if (!parsed.success) throw fault('ARGUMENT_INVALID', { reason: reasonOf(tool, parsed.error, lenient) });
  const unknown = Object.keys(given).filter((name) => !known.includes(name) && !name.startsWith('_'));
  return { input: parsed.data, ...(unknown.length > 0 && { remark: remarkOf(unknown, known) }) };
}

function rename(tool: Tool, raw: Record<string, unknown>): Record<string, unknown> {
  const aliases = tool.aliases ?? {};
  return Object.fromEntries(Object.entries(raw).map(([name, value]) => [aliases[name] ?? name, value]));
}

/**
 * Converts lenient forms: some clients send `"30"` for 30 and `"[\"a\"]"` for a list, some models a string for a list
 * of one or 7 for "7". A conversion is tried only where the schema refuses the value itself.
 */
function readLeniently(tool: Tool, given: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(given).map(([name, value]) => {
      const schema = tool.input.shape[name];
      const accepts = (candidate: unknown): boolean =>
        schema !== undefined && candidate !== undefined && z.safeParse(schema, candidate).success;
      return [name, [value, ...otherReadings(value)].find(accepts) ?? value];
    }),
  );
}

function otherReadings(value: unknown): unknown[] {
  if (typeof value === 'string') return [parsedJson(value), [value]];
  return typeof value === 'number' ? [String(value)] : [];
}

function reasonOf(tool: Tool, error: z.ZodError, given: Record<string, unknown>): string {
  const reasons = error.issues.slice(0, 5).map((issue) => {
    const [name, ...rest] = issue.path.map(String);
    if (name === undefined) return issue.message;
    if (!(name in given)) return `argument "${name}" is required`;
    return `argument "${[name, ...rest].join('.')}": ${issue.message.replace(/^Invalid input: /u, '')}`;
  });
  return `${tool.name}: ${reasons.join('; ')}`;
}

function remarkOf(unknown: readonly string[], known: readonly string[]): string {
  const remarks = unknown.slice(0, 5).map((name) => {
    const closest = closestTo(name, known);
    const shown = name.slice(0, 64);
    return `ignored argument '${shown}'${closest === undefined ? '' : `; did you mean ${closest}?`}`;
  });
  return remarks.join(' ');
}

/** Returns the candidate within two edits, or one that the text begins or ends with; undefined when none is close. */
export function closestTo(text: string, candidates: readonly string[]): string | undefined {
  const near = candidates
    .map((candidate) => ({ candidate, edits: distance(text.slice(0, 64), candidate) }))
    .filter(({ candidate, edits }) => edits <= 2 || overlaps(text, candidate))
    .sort((a, b) => a.edits - b.edits);
  return near[0]?.candidate;
}

function overlaps(text: string, candidate: string): boolean {
  const [short, long] = text.length < candidate.length ? [text, candidate] : [candidate, text];
  return short.length >= 4 && (long.startsWith(short) || long.endsWith(short));
}

/** Returns the Levenshtein distance. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 0; i < a.length; i++) {
    const next = [i + 1];
    for (let j = 0; j < b.length; j++) {
      const change = (row[j] ?? 0) + (a[i] === b[j] ? 0 : 1);
      next.push(Math.min(change, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
