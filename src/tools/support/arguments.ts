import { z } from 'zod';
import type { ConTree } from '../../contract/contree.ts';
import { fault } from '../../contract/errors.ts';
import { isTag, isUuid } from '../../contract/names.ts';
import { image } from './fields.ts';
import type { Tool } from './tool.ts';
import { closestOf } from '../../contract/closest.ts';
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
  const named = rename(tool, isRecord(raw) ? raw : {});
  const given = tool.rewrite?.(named) ?? named;
  const known = Object.keys(tool.input.shape);
  const lenient = Object.fromEntries(
    Object.entries(given).filter(([name, value]) => known.includes(name) && value !== null),
  );
  const parsed = z.safeParse(tool.input, readLeniently(tool, lenient));
  const unknown = Object.keys(given).filter((name) => !known.includes(name) && !name.startsWith('_'));
  if (!parsed.success) {
    const reasons = [reasonOf(tool, parsed.error, lenient), ...(unknown.length > 0 ? [remarkOf(unknown, known)] : [])];
    throw fault('ARGUMENT_INVALID', { reason: reasons.join('; ') });
  }
  return { input: parsed.data, ...(unknown.length > 0 && { remark: remarkOf(unknown, known) }) };
}

/**
 * Returns the arguments of a call with each image that is named by its bare tag (`rich`, `python:3.11-slim`) replaced by
 * the UUID of that tag. Rejects with IMAGE_NOT_FOUND, which names the closest tags.
 */
export async function withImages(
  tool: Tool,
  input: Record<string, unknown>,
  contree: ConTree,
  signal: AbortSignal,
): Promise<Record<string, unknown>> {
  const resolved = { ...input };
  for (const [name, value] of Object.entries(input)) {
    const field = tool.input.shape[name];
    const isImage = field === image || (field instanceof z.ZodOptional && field.unwrap() === image);
    if (!isImage || typeof value !== 'string' || !isBareTag(value)) continue;
    resolved[name] = (await contree.images.get(`tag:${value}`, signal)).uuid;
  }
  return resolved;
}

function isBareTag(source: string): boolean {
  return !isUuid(source) && !source.startsWith('tag:') && isTag(source);
}

function rename(tool: Tool, raw: Record<string, unknown>): Record<string, unknown> {
  const aliases = tool.aliases ?? {};
  return Object.fromEntries(Object.entries(raw).map(([name, value]) => [aliases[name] ?? name, value]));
}

/**
 * Converts lenient forms: some clients send `"30"` for 30 and `"[\"a\"]"` for a list, some models a string for a list
 * of one, 7 for "7", or `{"PORT": 80}` for a map of texts. A conversion is tried only where the schema refuses the value
 * itself.
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
  if (Array.isArray(value)) return [value.map(asText)];
  if (isRecord(value)) return [Object.fromEntries(Object.entries(value).map(([name, item]) => [name, asText(item)]))];
  return typeof value === 'number' ? [String(value)] : [];
}

/** Returns a number or a boolean as text, as a shell would have it, and anything else unchanged. */
function asText(value: unknown): unknown {
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : value;
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
    const [closest] = closestOf(name, known);
    const shown = name.slice(0, 64);
    return `ignored argument '${shown}'${closest === undefined ? '' : `; did you mean ${closest}?`}`;
  });
  return remarks.join(' ');
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
