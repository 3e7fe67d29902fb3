import { dockerfileFault } from './faults.ts';
import { expandWord, type Substitution } from './substitute.ts';

const TYPES = ['bind', 'cache', 'tmpfs', 'secret', 'ssh'] as const;
const SHARINGS = ['shared', 'private', 'locked'] as const;

/** A `--mount` of RUN. */
export interface RunMount {
  readonly type: (typeof TYPES)[number];
  readonly from: string | undefined;
  readonly source: string | undefined;
  /** Path in the guest; may be relative to the working directory. */
  readonly target: string | undefined;
  readonly readOnly: boolean;
  readonly id: string | undefined;
  readonly sharing: (typeof SHARINGS)[number];
  readonly required: boolean;
  readonly mode: number | undefined;
  readonly uid: number | undefined;
  readonly gid: number | undefined;
  /** Bound of a tmpfs. */
  readonly sizeBytes: number | undefined;
  /** Variable that gets the value of a secret. */
  readonly env: string | undefined;
}

/** Names of a field, and the types of mounts that have it. */
const KEYS: Readonly<Record<string, { readonly field: string; readonly types: readonly string[] }>> = {
  type: { field: 'type', types: TYPES },
  from: { field: 'from', types: ['bind', 'cache'] },
  source: { field: 'source', types: ['bind', 'cache', 'secret'] },
  src: { field: 'source', types: ['bind', 'cache', 'secret'] },
  target: { field: 'target', types: TYPES },
  dst: { field: 'target', types: TYPES },
  destination: { field: 'target', types: TYPES },
  readonly: { field: 'readOnly', types: ['bind', 'cache'] },
  ro: { field: 'readOnly', types: ['bind', 'cache'] },
  readwrite: { field: 'readWrite', types: ['bind', 'cache'] },
  rw: { field: 'readWrite', types: ['bind', 'cache'] },
  id: { field: 'id', types: ['cache', 'secret', 'ssh'] },
  sharing: { field: 'sharing', types: ['cache'] },
  required: { field: 'required', types: ['secret', 'ssh'] },
  mode: { field: 'mode', types: ['cache', 'secret', 'ssh'] },
  uid: { field: 'uid', types: ['cache', 'secret', 'ssh'] },
  gid: { field: 'gid', types: ['cache', 'secret', 'ssh'] },
  size: { field: 'sizeBytes', types: ['tmpfs'] },
  env: { field: 'env', types: ['secret'] },
};
const SWITCHES: ReadonlySet<string> = new Set(['readOnly', 'readWrite', 'required']);

/** Parses one `--mount`. Faults: DOCKERFILE_INVALID. */
export function parseMount(text: string, substitution: Substitution): RunMount {
  const { line } = substitution;
  const fields = new Map<string, string>();
  for (const part of commaSeparated(text, line)) {
    const equals = part.indexOf('=');
    const key = (equals < 0 ? part : part.slice(0, equals)).toLowerCase();
    const known = Object.hasOwn(KEYS, key) ? KEYS[key] : undefined;
    if (known === undefined) throw dockerfileFault(line, `--mount does not have ${JSON.stringify(key.slice(0, 40))}`);
    if (equals < 0 && !SWITCHES.has(known.field)) throw dockerfileFault(line, `--mount: ${key} needs a value`);
    if (fields.has(known.field)) throw dockerfileFault(line, `--mount has ${key} twice`);
    fields.set(known.field, equals < 0 ? 'true' : expandWord(part.slice(equals + 1), substitution));
  }
  return mountOf(fields, line);
}

function mountOf(fields: ReadonlyMap<string, string>, line: number): RunMount {
  const type = oneOf(TYPES, fields.get('type') ?? 'bind', 'type', line);
  for (const field of fields.keys()) {
    const keys = Object.entries(KEYS).filter(([, known]) => known.field === field);
    const [name] = keys[0] ?? [field];
    if (!keys.some(([, known]) => known.types.includes(type))) {
      throw dockerfileFault(line, `--mount=type=${type} does not have ${name}`);
    }
  }
  const isOn = (field: string): boolean => switchOf(fields.get(field), field, line);
  const mount = {
    type,
    from: fields.get('from'),
    source: fields.get('source'),
    target: fields.get('target'),
    readOnly: type === 'bind' ? !isOn('readWrite') : isOn('readOnly'),
    id: fields.get('id'),
    sharing: oneOf(SHARINGS, fields.get('sharing') ?? 'shared', 'sharing', line),
    required: isOn('required'),
    mode: number(fields.get('mode'), { name: 'mode', base: 8, line }),
    uid: number(fields.get('uid'), { name: 'uid', base: 10, line }),
    gid: number(fields.get('gid'), { name: 'gid', base: 10, line }),
    sizeBytes: sizeOf(fields.get('sizeBytes'), line),
    env: fields.get('env'),
  };
  const named = type === 'secret' || type === 'ssh';
  if (!named && (mount.target ?? '') === '') throw dockerfileFault(line, `--mount=type=${type} needs a target`);
  if (type === 'secret' && (mount.id ?? mount.source ?? mount.target) === undefined) {
    throw dockerfileFault(line, '--mount=type=secret needs an id');
  }
  if (mount.env !== undefined && !/^[A-Za-z_][A-Za-z0-9_]*$/u.test(mount.env)) {
    throw dockerfileFault(line, `--mount: ${JSON.stringify(mount.env.slice(0, 40))} cannot name a variable`);
  }
  return mount;
}

/** Splits a line of comma-separated values (RFC 4180), where a field with commas is in quotation marks. */
function commaSeparated(text: string, line: number): string[] {
  const fields: string[] = [];
  for (let at = 0; at <= text.length;) {
    if (text[at] !== '"') {
      const comma = text.indexOf(',', at);
      const end = comma < 0 ? text.length : comma;
      fields.push(text.slice(at, end));
      at = end + 1;
      continue;
    }
    const [quoted, inner = ''] = /^"((?:[^"]|"")*)"(?=,|$)/u.exec(text.slice(at)) ?? [];
    if (quoted === undefined) throw dockerfileFault(line, '--mount: a quotation mark has no end');
    fields.push(inner.replaceAll('""', '"'));
    at += quoted.length + 1;
  }
  return fields;
}

function oneOf<Value extends string>(values: readonly Value[], text: string, name: string, line: number): Value {
  const found = values.find((value) => value === text.toLowerCase());
  if (found !== undefined) return found;
  throw dockerfileFault(line, `--mount: ${name} is ${values.join(', ')}; not ${JSON.stringify(text.slice(0, 40))}`);
}

function switchOf(text: string | undefined, name: string, line: number): boolean {
  if (text === undefined) return false;
  if (['1', 't', 'true'].includes(text.toLowerCase())) return true;
  if (['0', 'f', 'false'].includes(text.toLowerCase())) return false;
  throw dockerfileFault(line, `--mount: ${name} is true or false, not ${JSON.stringify(text.slice(0, 40))}`);
}

function number(
  text: string | undefined,
  { name, base, line }: { readonly name: string; readonly base: 8 | 10; readonly line: number },
): number | undefined {
  if (text === undefined) return undefined;
  const valid = base === 8 ? /^[0-7]{1,5}$/u.test(text) : /^\d{1,10}$/u.test(text) && Number(text) < 0xffff_ffff;
  if (valid) return Number.parseInt(text, base);
  throw dockerfileFault(line, `--mount: ${name}=${text.slice(0, 40)} is not a number of base ${base}`);
}

function sizeOf(text: string | undefined, line: number): number | undefined {
  if (text === undefined) return undefined;
  const [, amount = '', unit = ''] = /^(\d{1,12})(?:([kmgt]?)i?b?)?$/iu.exec(text) ?? [];
  if (amount === '') throw dockerfileFault(line, `--mount: size=${text.slice(0, 40)} is not a size such as 64m`);
  return Number(amount) * 1024 ** ' kmgt'.indexOf(unit.toLowerCase() || ' ');
}
