import { createHash, randomBytes } from 'node:crypto';
import { limits } from '../../contract/limits.ts';
import type { Principal } from '../auth.ts';
import { type PageTarget, pageLabel } from './page-host.ts';

interface Entry {
  readonly label: string;
  readonly principal: Principal;
  readonly untilMs: number;
}

const SECOND_MS = 1_000;

/**
 * Browsers that were signed in to the pages of one port of an instance: by a key that works once, for a session of that port
 * only. Held in memory, so that they end with the engine, and bounded: the oldest makes room.
 */
export class PageSessions {
  readonly #keys = new Map<string, Entry>();
  readonly #sessions = new Map<string, Entry>();

  /** Returns a key for the principal's browser. */
  key(principal: Principal, target: PageTarget): string {
    return add(this.#keys, {
      principal,
      label: pageLabel(target),
      untilMs: Date.now() + limits.pageKeySecondsMax * SECOND_MS,
    });
  }

  /** Returns the secret of a new session for a key; undefined when that was used, has expired or is for other pages. */
  redeem(key: string, target: PageTarget): string | undefined {
    const name = hashed(key);
    const entry = current(this.#keys, name, target);
    this.#keys.delete(name);
    if (entry === undefined) return undefined;
    return add(this.#sessions, { ...entry, untilMs: Date.now() + limits.pageSessionSecondsMax * SECOND_MS });
  }

  /** Returns whose session that is. */
  find(secret: string, target: PageTarget): Principal | undefined {
    return current(this.#sessions, hashed(secret), target)?.principal;
  }
}

function add(entries: Map<string, Entry>, entry: Entry): string {
  const secret = randomBytes(32).toString('base64url');
  if (entries.size >= limits.pageSessionsMax) {
    for (const oldest of entries.keys()) {
      entries.delete(oldest);
      break;
    }
  }
  entries.set(hashed(secret), entry);
  return secret;
}

function current(entries: Map<string, Entry>, name: string, target: PageTarget): Entry | undefined {
  const entry = entries.get(name);
  if (entry === undefined || entry.label !== pageLabel(target)) return undefined;
  const { expiresAt } = entry.principal;
  const untilMs = Math.min(entry.untilMs, expiresAt === null ? Infinity : expiresAt * SECOND_MS);
  if (untilMs > Date.now()) return entry;
  entries.delete(name);
  return undefined;
}

/** Hashes a secret, so that the time of a look-up says nothing about it. */
function hashed(secret: string): string {
  return createHash('sha256').update(secret).digest('base64url');
}
