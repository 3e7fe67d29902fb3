import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';

/** A user and group of the host that own nothing else. */
export interface Identity {
  readonly uid: number;
  readonly gid: number;
}

/**
 * First number, above every range that systemd's "Users, Groups, UIDs and GIDs" assigns, and below 2³¹. Each running microVM
 * has its own number, so that none can signal, trace or exhaust the process limit of another.
 */
const FIRST_UID = 1_900_000_000;
const COUNT = 4_096;
/** Number of ranges from which an engine gets one. */
const RANGES = 60_000;
const NOBODY = 65_534;

export interface Taken extends Disposable {
  readonly vm: Identity | undefined;
}

/** Assigns identities, which only root can. For other users everything runs as themselves. */
export class Identities {
  readonly #first: number | undefined;
  readonly #taken = new Set<number>();

  private constructor(first: number | undefined) {
    this.#first = first;
  }

  /** Opens the range of an owner (state folder). Owners have different ranges, so that two engines on one host share no user. */
  static async open(owner: string): Promise<Identities> {
    if (process.getuid?.() !== 0) return new Identities(undefined);
    const first = FIRST_UID + COUNT * (createHash('sha256').update(owner).digest().readUInt32BE() % RANGES);
    const ranges = await Promise.all(['uid_map', 'gid_map'].map((map) => readFile(`/proc/self/${map}`, 'utf8')));
    // Inside a container only some numbers are mapped.
    return new Identities(ranges.every((text) => covers(text, first, COUNT)) ? first : NOBODY);
  }

  /** Takes an identity for one microVM until it is disposed of; undefined where the user cannot be changed. */
  take(): Taken {
    if (this.#first === undefined) return { vm: undefined, [Symbol.dispose]: () => {} };
    let slot = 0;
    while (this.#taken.has(slot)) slot += 1;
    this.#taken.add(slot);
    const release = (): void => {
      this.#taken.delete(slot);
    };
    const uid = this.#first === NOBODY ? NOBODY : this.#first + (slot % COUNT);
    return { vm: { uid, gid: uid }, [Symbol.dispose]: release };
  }
}

/** Reports whether an id map (`inside outside count` per line) has all of `count` numbers from `first` on. */
export function covers(map: string, first: number, count: number): boolean {
  return map.split('\n').some((line) => {
    const [inside = 0, , length = 0] = line.trim().split(/\s+/u).map(Number);
    return inside <= first && first + count <= inside + length;
  });
}
