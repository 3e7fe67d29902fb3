import { operations, type Document, type Operation, type Schema } from '../../support/openapi.ts';
import { resolved } from './schema.ts';

type Direction = 'request' | 'answer';

/** Returns the differences of our document from the hosted one, one line each. Additions do not count. */
export function documentDifferences(hosted: Document, ours: Document): string[] {
  const comparison = new Comparison(hosted, ours);
  for (const { path, method, operation } of operations(hosted)) {
    const where = `${method.toUpperCase()} ${path}`;
    const mine = operations(ours).find((other) => plain(other.path) === plain(path) && other.method === method);
    if (mine === undefined) comparison.found.push(where);
    else comparison.operation(where, operation, mine.operation);
  }
  for (const [name, schema] of Object.entries(hosted.components.schemas)) comparison.component(name, schema);
  return [...new Set(comparison.found)].toSorted();
}

/** Names of path parameters are not sent. */
function plain(path: string): string {
  return path.replaceAll(/\{\w+\}/gu, '{}');
}

class Comparison {
  readonly found: string[] = [];
  readonly #hosted: Document;
  readonly #ours: Document;

  constructor(hosted: Document, ours: Document) {
    this.#hosted = hosted;
    this.#ours = ours;
  }

  /** Compares a part of events, which no operation refers to because they arrive as a stream. */
  component(name: string, hosted: Schema): void {
    if (!/^Event|^Network|^OperationEvent/u.test(name)) return;
    const mine = this.#ours.components.schemas[name];
    if (mine === undefined) this.found.push(name);
    else this.#schema(name, hosted, mine, 'answer');
  }

  operation(where: string, hosted: Operation, ours: Operation): void {
    if (hosted.operationId !== undefined && hosted.operationId !== ours.operationId) this.found.push(`${where} id`);
    this.#parameters(where, hosted, ours);
    for (const [type, { schema }] of Object.entries(hosted.requestBody?.content ?? {})) {
      const mine = ours.requestBody?.content[type]?.schema;
      if (mine === undefined) this.found.push(`${where} takes ${type}`);
      else this.#schema(`${where} body`, schema, mine, 'request');
    }
    for (const [status, { content = {} }] of Object.entries(hosted.responses)) {
      const mine = ours.responses[status];
      if (mine === undefined) this.found.push(`${where} ${status}`);
      if (mine === undefined || status >= '300') continue;
      for (const [type, { schema }] of Object.entries(content)) {
        const answer = mine.content?.[type]?.schema;
        if (answer === undefined) this.found.push(`${where} answers ${type}`);
        else this.#schema(`${where} answer`, schema, answer, 'answer');
      }
    }
  }

  #parameters(where: string, hosted: Operation, ours: Operation): void {
    for (const given of hosted.parameters ?? []) {
      const parameter = this.#parameter(given);
      const name = `${where} ${parameter.name}`;
      if (parameter.in === 'path') continue;
      const mine = ours.parameters?.find((one) => one.name === parameter.name && one.in === parameter.in);
      if (mine === undefined) this.found.push(name);
      else {
        if (mine.required === true && parameter.required !== true) this.found.push(`${name} required`);
        if (mine.schema.type !== 'array') this.#schema(name, parameter.schema, mine.schema, 'request');
      }
    }
  }

  /** Returns a parameter that the document may only refer to. */
  #parameter(given: NonNullable<Operation['parameters']>[number]): typeof given {
    const { $ref } = given as { readonly $ref?: string };
    const { parameters } = this.#hosted.components as unknown as { parameters: Record<string, typeof given> };
    return $ref === undefined ? given : (parameters[$ref.split('/').at(-1) ?? ''] ?? given);
  }

  #schema(where: string, hosted: Schema, ours: Schema, direction: Direction): void {
    const theirs = resolved(this.#hosted, hosted);
    const mine = this.#present(resolved(this.#ours, ours));
    if (theirs.oneOf !== undefined) return;
    this.#values(where, theirs, mine, direction);
    this.#fields(where, theirs, mine, direction);
    if (theirs.items !== undefined && mine.items !== undefined) {
      this.#schema(`${where}[]`, theirs.items, mine.items, direction);
    }
    const [others, own] = [theirs.additionalProperties, mine.additionalProperties];
    if (typeof others === 'object' && typeof own === 'object') this.#schema(`${where}{}`, others, own, direction);
  }

  /** Returns the alternative to null, which our document writes as a union in some places. */
  #present(schema: Schema): Schema {
    const { anyOf, ...rest } = schema;
    if (anyOf === undefined) return schema;
    const [first, ...others] = anyOf.filter((one) => one.type !== undefined || one.$ref !== undefined);
    if (first === undefined || others.some(({ nullable }) => nullable !== true)) return schema;
    return { ...resolved(this.#ours, first), ...rest, nullable: true };
  }

  #values(where: string, hosted: Schema, ours: Schema, direction: Direction): void {
    const [wide, narrow] = direction === 'request' ? [ours, hosted] : [hosted, ours];
    if (hosted.type !== undefined && ours.type !== undefined && !fits(narrow.type, wide.type)) {
      this.found.push(`${where} type`);
    }
    if (narrow.nullable === true && wide.nullable !== true && wide.type !== undefined) this.found.push(`${where} null`);
    if (wide.enum !== undefined && !(narrow.enum ?? [undefined]).every((value) => wide.enum?.includes(value ?? ''))) {
      this.found.push(`${where} values`);
    }
    if (direction === 'answer') return;
    if ((ours.minimum ?? -Infinity) > (hosted.minimum ?? 0)) this.found.push(`${where} minimum`);
    if (hosted.maximum !== undefined && (ours.maximum ?? Infinity) !== hosted.maximum) {
      this.found.push(`${where} maximum`);
    }
  }

  #fields(where: string, hosted: Schema, ours: Schema, direction: Direction): void {
    const required = (schema: Schema): readonly string[] => schema.required ?? [];
    for (const [name, property] of Object.entries(hosted.properties ?? {})) {
      const mine = ours.properties?.[name];
      if (mine === undefined) this.found.push(`${where}.${name}`);
      else this.#schema(`${where}.${name}`, property, mine, direction);
    }
    const [must, has] = direction === 'request' ? [ours, hosted] : [hosted, ours];
    for (const name of required(must)) {
      if (!required(has).includes(name) && hosted.properties?.[name]) this.found.push(`${where}.${name} required`);
    }
  }
}

/** A boolean of a query is one of the texts that our flags take. */
function fits(narrow: string | undefined, wide: string | undefined): boolean {
  return narrow === wide || (narrow === 'integer' && wide === 'number') || (narrow === 'boolean' && wide === 'string');
}
