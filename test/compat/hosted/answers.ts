import { z } from 'zod';
import { operations, type Document, type Schema } from '../../support/openapi.ts';
import type { Answer } from '../../support/servers/http-server.ts';
import { inPlace } from './schema.ts';

interface Known {
  readonly where: string;
  readonly pattern: RegExp;
  readonly literal: boolean;
  readonly answers: ReadonlyMap<string, ReadonlyMap<string, z.ZodType | undefined>>;
}

/** Judge of answers by the hosted document: whether it knows their status, type and shape. */
export class Answers {
  /** Pairs of operation and status that occurred. */
  readonly seen = new Set<string>();
  readonly differences = new Set<string>();
  readonly #known: readonly Known[];

  constructor(document: Document) {
    this.#known = operations(document)
      .map(({ path, method, operation }) => ({
        where: `${method.toUpperCase()} ${path}`,
        pattern: new RegExp(`^${method.toUpperCase()} /v1${path.replaceAll(/\{\w+\}/gu, '[^/]+')}$`, 'u'),
        literal: !path.endsWith('}'),
        answers: new Map(
          Object.entries(operation.responses).map(([status, { content = {} }]) => [
            status,
            new Map(
              Object.entries(content).map(([type, { schema }]) => [
                type,
                type === 'application/json' ? validator(document, schema) : undefined,
              ]),
            ),
          ]),
        ),
      }))
      .toSorted((a, b) => Number(b.literal) - Number(a.literal));
  }

  /** Records an answer, and each way in which it is not what the document says. */
  judge(method: string, path: string, { status, headers, json }: Answer): void {
    const asked = `${method} ${path.split('?', 1)[0]}`;
    const known = this.#known.find(({ pattern }) => pattern.test(asked));
    if (known === undefined) return;
    const where = `${known.where} ${status}`;
    this.seen.add(where);
    const types = known.answers.get(String(status));
    if (types === undefined) this.differences.add(`${where} undocumented`);
    if (types === undefined || types.size === 0 || method === 'HEAD') return;
    const type = (headers['content-type'] ?? '').split(';', 1)[0] ?? '';
    if (!types.has(type)) this.differences.add(`${where} is ${type}`);
    const issues = types.get(type)?.safeParse(json).error?.issues ?? [];
    for (const { path: at, message } of issues) {
      const place = at.map((part) => (typeof part === 'number' ? '[]' : `.${String(part)}`)).join('');
      this.differences.add(`${where} ${place} ${message.replace('Invalid input: ', '')}`);
    }
  }
}

/** Returns a validator of a schema of the document. */
export function validator(document: Document, schema: Schema): z.ZodType {
  return z.fromJSONSchema(inPlace(document, schema) as z.core.JSONSchema.JSONSchema, {
    defaultTarget: 'openapi-3.0',
  });
}

const DATA: Readonly<Record<string, string>> = {
  init: 'EventDataInit',
  spawn: 'EventDataSpawn',
  stdin: 'EventDataStream',
  stdout: 'EventDataStream',
  stderr: 'EventDataStream',
  exit: 'EventDataExit',
  truncated: 'EventDataTruncated',
  size_cap: 'EventDataSizeCap',
  network: 'EventDataNetwork',
  shutdown: 'EventDataShutdown',
  completion: 'EventDataCompletion',
};

/** Returns a check of one event by the schemas of the document for its type. */
export function eventCheck(document: Document): (event: { readonly type: string; readonly data: unknown }) => string[] {
  const { schemas } = document.components;
  const { data: _, ...properties } = schemas['OperationEvent']?.properties ?? {};
  const event = validator(document, { ...schemas['OperationEvent'], properties });
  const data = new Map(
    Object.entries(DATA).map(([type, name]) => [type, validator(document, schemas[name] ?? {})] as const),
  );
  return (given) =>
    [event.safeParse(given), data.get(given.type)?.safeParse(given.data)].flatMap((result) =>
      (result?.error?.issues ?? []).map(({ path, message }) => `event ${given.type} ${path.join('.')} ${message}`),
    );
}
