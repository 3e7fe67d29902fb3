import type { ClusterDatabase } from './database.ts';

/** Tokens of a cluster, as the API shows them, found by their hash. */
export class CatalogueTokens {
  readonly #database: ClusterDatabase;

  constructor(database: ClusterDatabase) {
    this.#database = database;
  }

  /** Adds a token; returns false when there are so many already. */
  async add(
    token: { readonly uuid: string; readonly hash: string; readonly shown: string },
    most: number,
  ): Promise<boolean> {
    const added = await this.#database.run(
      'INSERT INTO tokens (uuid, hash, shown) SELECT $1, $2, $3 WHERE (SELECT count(*) FROM tokens) < $4',
      token.uuid,
      token.hash,
      token.shown,
      most,
    );
    return added === 1;
  }

  async findByHash(hash: string): Promise<string | undefined> {
    return (await this.#database.rows<{ shown: string }>('SELECT shown FROM tokens WHERE hash = $1', hash))[0]?.shown;
  }

  async find(uuid: string): Promise<string | undefined> {
    return (await this.#database.rows<{ shown: string }>('SELECT shown FROM tokens WHERE uuid = $1', uuid))[0]?.shown;
  }

  /** Lists tokens, oldest first. */
  async list(): Promise<string[]> {
    const rows = await this.#database.rows<{ shown: string }>('SELECT shown FROM tokens ORDER BY created_at, uuid');
    return rows.map(({ shown }) => shown);
  }

  /** Removes a token; returns false when there is none. */
  async remove(uuid: string): Promise<boolean> {
    return (await this.#database.run('DELETE FROM tokens WHERE uuid = $1', uuid)) === 1;
  }
}
