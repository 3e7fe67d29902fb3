import { randomBytes } from 'node:crypto';
import { lstat, mkdir, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { fault } from '../contract/errors.ts';
import { writeFileAtomically } from '../std/files.ts';

/** 256 random bits, in the form of the engine's own tokens. */
const TOKEN = /^ctr_[A-Za-z0-9_-]{43}$/u;

/**
 * Returns the token in this file, which is made when there is none: a server that is started again asks for the same one.
 * Faults: CONFIG_INVALID when others could read or have written it.
 */
export async function keptToken(path: string): Promise<string> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const known = await read(path);
  if (known !== undefined) return known;
  await writeFileAtomically(path, `ctr_${randomBytes(32).toString('base64url')}\n`, { mode: 0o600 });
  // Of two servers that start at the same time one has replaced what the other wrote.
  const made = await read(path);
  if (made === undefined) throw fault('CONFIG_INVALID', { setting: '--auth', reason: `${path} cannot be used` });
  return made;
}

async function read(path: string): Promise<string | undefined> {
  const info = await lstat(path).catch(() => undefined);
  if (info === undefined) return undefined;
  const isOurs = process.getuid === undefined || info.uid === process.getuid();
  if (!info.isFile() || !isOurs || (info.mode & 0o077) !== 0) {
    const reason = `${path} is not a file that only you may read; remove it for a new token`;
    throw fault('CONFIG_INVALID', { setting: '--auth', reason });
  }
  const text = (await readFile(path, 'utf8')).trim();
  return TOKEN.test(text) ? text : undefined;
}
