import { fault } from '../../contract/errors.ts';
import { isProject } from '../../contract/names.ts';
import type { Quota, QuotaChange } from '../../contract/server.ts';
import { present } from '../../std/present.ts';
import type { QuotaStore } from '../../store/quotas.ts';
import type { Resources } from '../admission.ts';

/** Quotas of the projects of an engine: what was set for one, and the default for the rest. */
export class Quotas {
  readonly #store: QuotaStore;
  readonly #usual: Quota;
  readonly #own: Map<string, Quota>;

  constructor(store: QuotaStore, usual: Quota) {
    this.#store = store;
    this.#usual = usual;
    this.#own = new Map(store.all());
  }

  /** Returns the quota in effect. */
  of(project: string): Quota {
    const own = this.#own.get(project);
    return own === undefined ? this.#usual : { ...this.#usual, ...own };
  }

  /** Returns the part of a project's quota that was set for it. */
  own(project: string): Quota {
    return this.#own.get(project) ?? {};
  }

  /** Changes the quota of a project. Work that was accepted is kept. Faults: PROJECT_INVALID. */
  change(project: string, change: QuotaChange): void {
    if (!isProject(project)) throw fault('PROJECT_INVALID', { project });
    const fields = Object.entries({ ...this.own(project), ...change });
    const quota: Quota = Object.fromEntries(fields.filter(([, value]) => typeof value === 'number'));
    this.#store.set(project, quota);
    this.#own.set(project, quota);
  }

  /** Returns a project's quota as the resources that its runs and instances claim. */
  claims(project: string): Resources {
    const { runs, cpus, memory_mib: memoryMib } = this.of(project);
    return present({ runs, cpus, memoryMib });
  }

  /** Refuses what would store more while a project stores as much as its quota. Faults: QUOTA_EXCEEDED. */
  checkStorage(project: string): void {
    const { storage_bytes: limit } = this.of(project);
    if (limit === undefined) return;
    const used = this.#store.bytesOf(project);
    if (used >= limit) throw fault('QUOTA_EXCEEDED', { project, what: 'storage', limit, used });
  }

  /** Yields what is uploaded to a project, as long as its quota has room. Faults: QUOTA_EXCEEDED. */
  bounded(project: string, content: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
    const { storage_bytes: limit } = this.of(project);
    return limit === undefined ? content : this.#upTo(limit, project, content);
  }

  async *#upTo(limit: number, project: string, content: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    this.checkStorage(project);
    const used = this.#store.bytesOf(project);
    let asked = 0;
    for await (const piece of content) {
      asked += piece.byteLength;
      if (used + asked > limit) throw fault('QUOTA_EXCEEDED', { project, what: 'storage', limit, used, asked });
      yield piece;
    }
  }
}
