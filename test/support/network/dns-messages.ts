/** Builds DNS messages by hand for tests. */

export interface TestRecord {
  readonly name: string;
  readonly type: number;
  readonly ttl?: number;
  readonly data: Buffer;
}

export const TYPE = { a: 1, ns: 2, cname: 5, ptr: 12, txt: 16, aaaa: 28, opt: 41 } as const;

export function nameBytes(name: string): Buffer {
  const labels = name === '' ? [] : name.split('.');
  return Buffer.concat([
    ...labels.flatMap((label) => [Buffer.from([label.length]), Buffer.from(label)]),
    Buffer.alloc(1),
  ]);
}

function u16(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(2 * values.length);
  values.forEach((value, index) => bytes.writeUInt16BE(value, 2 * index));
  return bytes;
}

export function query(name: string, type: number = TYPE.a, options: { id?: number; edns?: number } = {}): Buffer {
  const { id = 0x1234, edns } = options;
  const opt = edns === undefined ? [] : [Buffer.alloc(1), u16(TYPE.opt, edns, 0, 0, 0)];
  return Buffer.concat([u16(id, 0x0100, 1, 0, 0, opt.length / 2), nameBytes(name), u16(type, 1), ...opt]);
}

export function record({ name, type, ttl = 60, data }: TestRecord): Buffer {
  return Buffer.concat([nameBytes(name), u16(type, 1, ttl >>> 16, ttl & 0xffff, data.length), data]);
}

/** Builds the answer to `asked` (whose question is copied) with these records. */
export function answer(
  asked: Buffer,
  answers: readonly TestRecord[],
  options: { readonly flags?: number; readonly authority?: readonly TestRecord[] } = {},
): Buffer {
  const { flags = 0x8180, authority = [] } = options;
  const question = asked.subarray(12, questionEnd(asked));
  const records = [...answers, ...authority].map(record);
  return Buffer.concat([
    u16(asked.readUInt16BE(0), flags, 1, answers.length, authority.length, 0),
    question,
    ...records,
  ]);
}

function questionEnd(message: Buffer): number {
  let at = 12;
  while ((message[at] ?? 0) > 0) at += 1 + (message[at] ?? 0);
  return at + 5;
}

/** Returns the queried name. */
export function askedName(message: Buffer): string {
  const labels: string[] = [];
  for (let at = 12; (message[at] ?? 0) > 0;) {
    const length = message[at] ?? 0;
    labels.push(message.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  return labels.join('.');
}

export function a(name: string, address: string, ttl = 60): TestRecord {
  return { name, type: TYPE.a, ttl, data: Buffer.from(address.split('.').map(Number)) };
}

export function cname(name: string, target: string): TestRecord {
  return { name, type: TYPE.cname, data: nameBytes(target) };
}
