import { z } from 'zod';
import type { Row, SchemaName, Subjects } from '../../contract/api/row.ts';
import { SCHEMAS } from '../../contract/api/schemas.ts';
import { fault } from '../../contract/errors.ts';
import { PortNumber } from '../../contract/instance.ts';
import { ProcessSpid } from '../../contract/event.ts';
import { isTag, isUuid } from '../../contract/names.ts';
import { oncePer } from '../../std/once-per.ts';
import { describeIssues } from './issues.ts';

/** Quotes a name for a fault. */
function shown(text: string, length = 100): string {
  return JSON.stringify(text.slice(0, length));
}

/**
 * Parses the image of a request: a UUID as in the hosted contract, or `tag:NAME` as elsewhere. Anything else is
 * reported as missing.
 */
function imageOf(text: string): string {
  if (isUuid(text)) return text.toLowerCase();
  if (text.startsWith('tag:') && isTag(text.slice(4))) return text;
  throw fault('IMAGE_NOT_FOUND', { image: shown(text, 300) });
}

function operationOf(text: string): string {
  if (!isUuid(text)) throw fault('OPERATION_NOT_FOUND', { operation: shown(text) });
  return text.toLowerCase();
}

/** Parses the sha256 or UUID of an upload. Faults: UPLOAD_NOT_FOUND for anything else. */
export function uploadOf(text: string): string {
  if (!/^[0-9a-f-]{32,64}$/iu.test(text)) throw fault('UPLOAD_NOT_FOUND', { file: shown(text) });
  return text.toLowerCase();
}

/** Parsers of the parts of a path. */
const SUBJECTS: { readonly [Kind in keyof Subjects]: (...parts: string[]) => Subjects[Kind] } = {
  image: (image = '') => [imageOf(image)],
  operation: (operation = '') => [operationOf(operation)],
  process: (operation = '', spid = '') => [operationOf(operation), readParameter(ProcessSpid, 'spid', spid)],
  port: (operation = '', port = '') => [operationOf(operation), readParameter(PortNumber, 'port', port)],
  upload: (upload = '') => [uploadOf(upload)],
  token: (token = '') => [token],
  project: (project = '') => [project.slice(0, 100)],
};

/** Names of the parameters in a path of OpenAPI's notation. */
export function parametersIn(path: string): string[] {
  return [...path.matchAll(/\{(\w+)\}/gu)].map(([, name = '']) => name);
}

/** Returns the subject of the path of a request. */
export function readSubject(row: Row, parameters: Readonly<Record<string, string>>): readonly (string | number)[] {
  if (row.subject === undefined) return [];
  return SUBJECTS[row.subject](...parametersIn(row.path).map((name) => parameters[name] ?? ''));
}

/** Parses one parameter or header with its schema. Faults: ARGUMENT_INVALID. */
export function readParameter<Schema extends z.ZodType>(schema: Schema, name: string, text: string): z.output<Schema> {
  const result = schema.safeParse(text);
  if (result.success) return result.data;
  throw fault('ARGUMENT_INVALID', { reason: `${name} ${result.error.issues[0]?.message}` });
}

/** Returns the parameters of a schema that may occur more than once; of all others the last occurrence counts. */
const repeatedIn = oncePer((schema: z.ZodObject): ReadonlySet<string> => {
  const { properties = {} } = z.toJSONSchema(schema, { io: 'input' });
  const lists = Object.entries(properties).filter(([, property]) => (property as { type?: unknown }).type === 'array');
  return new Set(lists.map(([field]) => field));
});

/** Parses the parameters that a schema knows; others are ignored, because clients of other versions send them. */
export function readQuery(name: SchemaName | undefined, search: URLSearchParams): object {
  if (name === undefined) return {};
  const schema = SCHEMAS[name] as z.ZodObject;
  const lists = repeatedIn(schema);
  const fields = Object.keys(schema.shape).filter((field) => search.has(field));
  const given = fields.map((field) => [field, lists.has(field) ? search.getAll(field) : search.getAll(field).at(-1)]);
  const result = schema.safeParse(Object.fromEntries(given));
  if (result.success) return result.data;
  throw fault('ARGUMENT_INVALID', { reason: describeIssues(result.error.issues, ' ') });
}
