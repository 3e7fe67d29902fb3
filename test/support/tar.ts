/** Member of a hand-made archive; written independently of the code under test. Strings are byte strings. */
export interface TarMember {
  readonly path: string;
  /** Type flag; default a file. */
  readonly flag?: string;
  readonly content?: string | Uint8Array;
  readonly linkname?: string;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly mtime?: number;
  readonly device?: readonly [major: number, minor: number];
  /** Records of a preceding PAX header. */
  readonly pax?: Readonly<Record<string, string>>;
  /** Size in the header; default the length of the content. */
  readonly size?: number;
  /** Bytes that overwrite parts of the header before its checksum is computed. */
  readonly patch?: Readonly<Record<number, string>>;
}

const END = Buffer.alloc(1024);

/** Returns a complete ustar archive. */
export function tarOf(members: readonly TarMember[]): Buffer {
  return Buffer.concat([...members.map(memberOf), END]);
}

/** Returns one member without the end-of-archive mark. */
export function memberOf(member: TarMember): Buffer {
  const content = Buffer.from(member.content ?? '');
  const own = Buffer.concat([headerOf(member, content.length), padded(content)]);
  if (member.pax === undefined) return own;
  const records = Object.entries(member.pax).map(([key, value]) => recordOf(key, Buffer.from(value, 'latin1')));
  return Buffer.concat([memberOf({ path: 'pax', flag: 'x', content: Buffer.concat(records) }), own]);
}

export async function* streamOf(bytes: Uint8Array, chunkBytes: number = 1000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += chunkBytes) yield bytes.subarray(at, at + chunkBytes);
}

function headerOf(member: TarMember, bytes: number): Buffer {
  const { path, flag = '0', linkname = '', mode = 0o644, uid = 0, gid = 0, mtime = 0, device = [0, 0] } = member;
  const header = Buffer.alloc(512);
  const octal = (at: number, width: number, value: number) =>
    header.write(value.toString(8).padStart(width - 1, '0'), at, 'latin1');
  header.write(path.slice(0, 100), 0, 'latin1');
  octal(100, 8, mode);
  octal(108, 8, uid);
  octal(116, 8, gid);
  octal(124, 12, member.size ?? bytes);
  octal(136, 12, mtime);
  header.write(flag, 156, 'latin1');
  header.write(linkname.slice(0, 100), 157, 'latin1');
  header.write('ustar\x0000', 257, 'latin1');
  octal(329, 8, device[0]);
  octal(337, 8, device[1]);
  for (const [at, text] of Object.entries(member.patch ?? {})) header.write(text, Number(at), 'latin1');
  header.fill(' ', 148, 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return header;
}

function recordOf(key: string, value: Buffer): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`, 'latin1'), value, Buffer.from('\n')]);
  let digits = 1;
  while (`${rest.length + digits}`.length > digits) digits++;
  return Buffer.concat([Buffer.from(`${rest.length + digits}`), rest]);
}

function padded(content: Buffer): Buffer {
  return Buffer.concat([content, Buffer.alloc((512 - (content.length % 512)) % 512)]);
}
