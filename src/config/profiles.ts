import { existsSync, readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { fault } from '../contract/errors.ts';
import { iniSections, withSection } from './ini.ts';
import { authFile, type Environment } from './read.ts';

/** A server to work with, and how it lets us in. */
export interface Profile {
  readonly name: string;
  readonly url?: string;
  readonly token?: string;
  readonly project?: string;
}

/** Returns the profiles of `auth.ini`, which the hosted service's own command line shares. */
export function readProfiles(env: Environment): readonly Profile[] {
  return [...iniSections(textOf(authFile(env)))].flatMap(([section, values]) => {
    const [, name] = /^profile:(.+)$/u.exec(section) ?? [];
    return name === undefined ? [] : [{ name, ...values }];
  });
}

/**
 * Saves a profile, or removes it; everything else in the file stays. Only its owner can read the file.
 * Faults: ARGUMENT_INVALID for a name or a value that the file cannot hold.
 */
export async function writeProfile(
  env: Environment,
  name: string,
  values: Omit<Profile, 'name'> | undefined,
): Promise<void> {
  if (!/^[\w.-]{1,64}$/u.test(name)) {
    throw fault('ARGUMENT_INVALID', {
      reason: 'the name of a profile has letters, digits, dots, dashes and underscores',
    });
  }
  if (Object.values(values ?? {}).some((value: string) => /[\r\n]/u.test(value))) {
    throw fault('ARGUMENT_INVALID', { reason: 'a value of a profile has one line' });
  }
  const path = authFile(env);
  // Loaded on demand: every program reads its settings, few write them.
  const { writeFileAtomically } = await import('../std/files.ts');
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await writeFileAtomically(path, withSection(textOf(path), `profile:${name}`, values), { mode: 0o600 });
}

function textOf(path: string): string {
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}
