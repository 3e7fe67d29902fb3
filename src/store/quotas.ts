import { Quota } from '../contract/server.ts';
import { parseColumn, type Database } from './database.ts';

/** Quotas that were set for single projects, and the bytes that projects store. */
export class QuotaStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Returns the quotas that were set, by project. */
  all(): ReadonlyMap<string, Quota> {
    const rows = this.#database.all<{ project: string; quota: string }>('SELECT project, quota FROM project_quotas');
    return new Map(rows.map(({ project, quota }) => [project, parseColumn(Quota, quota, `quota of ${project}`)]));
  }

  /** Replaces the quota of a project; an empty one is removed. */
  set(project: string, quota: Quota): void {
    this.#database.transaction(
      () => {
        this.#database.run('DELETE FROM project_quotas WHERE project = ?', project);
        if (Object.keys(quota).length === 0) return;
        this.#database.run('INSERT INTO project_quotas VALUES (?, ?)', project, JSON.stringify(quota));
      },
      { durable: true },
    );
  }

  /** Returns the bytes of the layers of a project's images, each once, and of its uploads. */
  bytesOf(project: string): number {
    const sql = 'SELECT layers + files AS bytes FROM project_bytes WHERE project = ?';
    return this.#database.get<{ bytes: number }>(sql, project)?.bytes ?? 0;
  }

  /** Returns the projects that have ever stored anything, or have a quota of their own. */
  projects(): string[] {
    const sql = 'SELECT project FROM project_bytes UNION SELECT project FROM project_quotas ORDER BY project';
    return this.#database.all<{ project: string }>(sql).map(({ project }) => project);
  }
}
