import { createHmac } from 'node:crypto';
import type { Database } from './database.ts';
import type { StoreParts } from './parts.ts';

/** Conditions under which a recorded result can be given again: its output and its image are still there. */
const USABLE = `status = 'SUCCESS' AND output_dropped = 0
  AND (result_image IS NULL OR result_image IN (SELECT uuid FROM images WHERE images.project = operations.project))`;

/** Key of a run, and the sandbox that ran it. */
export interface RecordPlace {
  /** Result of `keyOf`. */
  readonly key: string;
  readonly sandbox: string;
}

/**
 * Runs of one project whose results may be given again, found by a digest of everything that they depended on. The digest is
 * keyed with a secret outside the database and covers the project, so it can neither be guessed nor compared.
 */
export class RecordedRunStore {
  readonly #parts: Pick<StoreParts, 'database' | 'reuseSecret'>;
  readonly #project: string;

  constructor(parts: Pick<StoreParts, 'database' | 'reuseSecret'>, project: string) {
    this.#parts = parts;
    this.#project = project;
  }

  /** Returns the key of a run, given as text: equal for equal texts. Throws DISK_FULL. */
  keyOf(text: string): string {
    return createHmac('sha256', this.#parts.reuseSecret).update(`${this.#project}\0${text}`).digest('hex');
  }

  /** Records an operation as the latest one with that key. `network` tells that it used its network. */
  record({ key, sandbox }: RecordPlace, operation: string, { network }: { readonly network: boolean }): void {
    this.#parts.database.run(
      'INSERT OR REPLACE INTO recorded_runs (project, key, sandbox, network, operation) VALUES (?, ?, ?, ?, ?)',
      this.#project,
      key,
      sandbox,
      Number(network),
      operation,
    );
  }

  /** Returns the latest operation with that key whose result is still there; with `network` also one that used its network. */
  find({ key, sandbox }: RecordPlace, { network }: { readonly network: boolean }): string | undefined {
    return this.#parts.database.get<{ uuid: string }>(
      `SELECT uuid FROM recorded_runs JOIN operations ON uuid = operation
        WHERE recorded_runs.project = ? AND key = ? AND sandbox = ? AND network <= ? AND ${USABLE}
        ORDER BY finished_at DESC LIMIT 1`,
      this.#project,
      key,
      sandbox,
      Number(network),
    )?.uuid;
  }
}

/** Forgets recorded runs whose output or image is gone, in all projects. */
export function dropUnusableRecords(database: Database): void {
  database.run(`DELETE FROM recorded_runs WHERE operation NOT IN (SELECT uuid FROM operations WHERE ${USABLE})`);
}
