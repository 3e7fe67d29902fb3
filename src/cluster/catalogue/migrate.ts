import { fault } from '../../contract/errors.ts';
import type { ClusterDatabase } from './database.ts';
import { CATALOGUE_MIGRATIONS } from './schema.ts';

/** Key of the advisory lock under which the catalogue changes its version: the bytes "ctre". */
const LOCK = 0x63_74_72_65;

/**
 * Brings the catalogue to the version of this program, one node at a time. Older nodes go on: a step only adds. Rejects
 * with CLUSTER_VERSION_UNSUPPORTED when a newer program has changed it; there is no way back but a backup.
 */
export async function migrate(database: ClusterDatabase, steps = CATALOGUE_MIGRATIONS): Promise<void> {
  await database.transaction(async (sql) => {
    await sql.run(`SELECT pg_advisory_xact_lock(${LOCK})`);
    await sql.run('CREATE TABLE IF NOT EXISTS catalogue (version integer NOT NULL)');
    const [found] = await sql.rows<{ version: number }>('SELECT version FROM catalogue');
    const version = found?.version ?? 0;
    if (version > steps.length) {
      throw fault('CLUSTER_VERSION_UNSUPPORTED', { version, supported: steps.length });
    }
    for (const step of steps.slice(version)) await sql.run(step);
    if (found === undefined) await sql.run('INSERT INTO catalogue VALUES ($1)', steps.length);
    else if (version < steps.length) await sql.run('UPDATE catalogue SET version = $1', steps.length);
  });
}
