import { mkdir, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { z } from 'zod';
import { fault } from '../../contract/errors.ts';
import { writeFileAtomically } from '../../std/files.ts';
import type { CredentialSource } from './credentials.ts';
import { parseRegistry } from '../reference.ts';
import { parsedJson } from '../../std/json.ts';

const FILE_BYTES_MAX = 1024 * 1024;
const PRIVATE_FILE = 0o600;
const PRIVATE_FOLDER = 0o700;

const Entry = z.object({ username: z.string(), password: z.string() });
const CredentialFile = z.object({ version: z.literal(1), registries: z.record(z.string(), Entry) });
type Registries = z.infer<typeof CredentialFile>['registries'];

/**
 * Store of our own registry credentials: one JSON file (`registries.json` in the configuration folder), mode 0600,
 * replaced atomically. It is read at every lookup, so a running engine sees what the CLI stores at once. When two
 * processes write at the same moment, the later one wins.
 */
export class CredentialStore {
  readonly #path: string;
  /** Orders the changes of this process, so that none is lost. */
  #changes: Promise<unknown> = Promise.resolve();

  constructor(path: string) {
    this.#path = path;
  }

  /** Source for the credential chain. Rejects with CONFIG_INVALID when the file is damaged or readable by others. */
  readonly source: CredentialSource = async (registry) => {
    const registries = await this.#read();
    return Object.hasOwn(registries, registry) ? registries[registry] : undefined;
  };

  /** Lists registries with stored credentials and their user names, never the secrets. */
  async list(): Promise<{ readonly registry: string; readonly username: string }[]> {
    const registries = await this.#read();
    return Object.entries(registries).map(([registry, { username }]) => ({ registry, username }));
  }

  /** Stores the credentials of a registry, replacing earlier ones. */
  async set(registry: string, credentials: { readonly username: string; readonly password: string }): Promise<void> {
    const key = parseRegistry(registry);
    await this.#change((registries) => ({ ...registries, [key]: { ...credentials } }));
  }

  /** Removes the credentials of a registry; returns false when there were none. */
  async remove(registry: string): Promise<boolean> {
    const key = parseRegistry(registry);
    let found = false;
    await this.#change((registries) => {
      found = Object.hasOwn(registries, key);
      return Object.fromEntries(Object.entries(registries).filter(([name]) => name !== key));
    });
    return found;
  }

  async #change(edit: (registries: Registries) => Registries): Promise<void> {
    const change = this.#changes.then(async () => {
      const registries = edit(await this.#read());
      await mkdir(dirname(this.#path), { recursive: true, mode: PRIVATE_FOLDER });
      const content = `${JSON.stringify({ version: 1, registries }, undefined, 2)}\n`;
      await writeFileAtomically(this.#path, content, { mode: PRIVATE_FILE });
    });
    this.#changes = change.catch(() => undefined);
    await change;
  }

  async #read(): Promise<Registries> {
    let text: string;
    try {
      await using file = await open(this.#path, 'r');
      const { mode, size } = await file.stat();
      if ((mode & 0o077) !== 0) throw unusable('others may read it; run chmod 600 on it');
      if (size > FILE_BYTES_MAX) throw unusable('it is too large');
      text = await file.readFile('utf8');
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return {};
      throw error;
    }
    // Neither parser's message is passed on: it could quote a secret.
    const parsed = CredentialFile.safeParse(parsedJson(text));
    if (!parsed.success) throw unusable('it is not what contree writes there');
    return parsed.data.registries;
  }
}

function unusable(reason: string): Error {
  return fault('CONFIG_INVALID', { setting: 'registries.json', reason });
}
