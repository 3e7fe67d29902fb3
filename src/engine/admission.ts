import { fault } from '../contract/errors.ts';
import { assert, defined } from '../std/assert.ts';

/** Amounts of the resources that runs compete for, by name, for example `cpus` and `memoryMib`. */
export type Resources = Readonly<Record<string, number>>;

/** Work that asks for a place. */
export interface Entry {
  readonly project: string;
  /** Resources of the host that it takes. */
  readonly cost: Resources;
  /** Resources that count against the quota of its project; default none. */
  readonly claim?: Resources;
  /**
   * True for an instance that stays. It may hold its place for days, so it does not count when it is decided whose turn
   * it is: its project would wait as long wherever many projects compete.
   */
  readonly lasting?: boolean;
}

/** Work in a line. */
interface Waiting {
  readonly entry: Entry;
  readonly cost: Resources;
  /** Number in the order of arrival. */
  readonly number: number;
  readonly admit: () => void;
}

/** Line and places of one project. */
interface Line {
  readonly waiting: Set<Waiting>;
  /** Claims of its places. */
  readonly used: Map<string, number>;
  /** Claims of its lasting work, whether it has its place already or waits for it. */
  readonly lasting: Map<string, number>;
  /** Number of its places, and their share of the capacity. */
  places: number;
  held: number;
  /** Virtual time at which its next work starts. */
  start: number;
}

/** Places that one project holds, and its work that waits. */
export interface ProjectPlaces {
  readonly waiting: number;
  readonly admitted: number;
  readonly used: Resources;
}

/** Shares are whole numbers of this unit, so that sums come back to exactly zero. */
const WHOLE = 1_000_000_000;

/**
 * Admits work while its cost fits into what is left, fairly between projects.
 *
 * Within a project work is admitted in the order of its arrival: nothing overtakes. Between projects the next turn has
 * the one that holds the smallest share of the host, by the resource of which it holds most (dominant resource
 * fairness, Ghodsi et al. 2011). Among equals it is the one that was served least, by start-time fair queueing (Goyal et
 * al. 1996), so a project that was idle has no credit. The work whose turn it is waits until it fits, and nothing
 * overtakes it, so large work never starves; only a project at its own quota is passed over. Work larger than the total
 * runs alone.
 */
export class Admission {
  readonly #capacity: Resources;
  readonly #quotaOf: (project: string) => Resources;
  readonly #used = new Map<string, number>();
  readonly #lines = new Map<string, Line>();
  /** Virtual time: the latest start of admitted work. */
  #now = 0;
  #arrivals = 0;
  #waiting = 0;
  #admitted = 0;

  constructor(capacity: Resources, quotaOf: (project: string) => Resources = () => ({})) {
    this.#capacity = capacity;
    this.#quotaOf = quotaOf;
  }

  get waiting(): number {
    return this.#waiting;
  }

  get admitted(): number {
    return this.#admitted;
  }

  /** Returns how many pieces of work of that cost fit into what is left, not counting those that wait. */
  spare(cost: Resources): number {
    const counts = Object.entries(this.#bounded(cost)).map(([name, amount]) =>
      amount > 0 ? Math.floor(((this.#capacity[name] ?? 0) - (this.#used.get(name) ?? 0)) / amount) : Infinity,
    );
    return Math.max(0, Math.min(...counts));
  }

  /** Returns what a project holds and waits for. */
  of(project: string): ProjectPlaces {
    const line = this.#lines.get(project);
    if (line === undefined) return { waiting: 0, admitted: 0, used: {} };
    return { waiting: line.waiting.size, admitted: line.places, used: Object.fromEntries(line.used) };
  }

  /** Returns the projects that hold or wait for anything. */
  get projects(): readonly string[] {
    return [...this.#lines].filter(([, { places, waiting }]) => places + waiting.size > 0).map(([project]) => project);
  }

  /**
   * Refuses work that its project's quota does not allow even when all its runs have ended. Faults: QUOTA_EXCEEDED.
   */
  check({ project, claim = {} }: Entry): void {
    const quota = this.#quotaOf(project);
    const line = this.#lines.get(project);
    for (const [name, asked] of Object.entries(claim)) {
      const limit = quota[name];
      if (limit === undefined) continue;
      const used = line?.lasting.get(name) ?? 0;
      if (used + asked > limit) throw fault('QUOTA_EXCEEDED', { project, what: name, limit, used, asked });
    }
  }

  /**
   * Waits for a place; disposing it releases the place. Rejects with QUOTA_EXCEEDED as `check` does, or with the
   * signal's reason and then leaves the line.
   */
  async enter(entry: Entry, signal: AbortSignal): Promise<Disposable> {
    signal.throwIfAborted();
    this.check(entry);
    const cost = this.#bounded(entry.cost);
    await this.#wait(entry, cost, signal);
    return { [Symbol.dispose]: () => this.#give(entry, cost) };
  }

  /** Admits what fits; called where a quota was changed, because nothing else tells. */
  advance(): void {
    for (let next = this.#next(); next !== undefined; next = this.#next()) {
      const { entry, cost, admit } = next;
      if (!this.#fits(cost)) return;
      const line = this.#line(entry.project);
      line.waiting.delete(next);
      this.#waiting -= 1;
      this.#now = Math.max(this.#now, line.start);
      line.start += share(cost, this.#capacity);
      this.#change(entry, cost, 1);
      admit();
    }
  }

  #wait(entry: Entry, cost: Resources, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const line = this.#line(entry.project);
      const leave = (): void => {
        line.waiting.delete(waiting);
        this.#waiting -= 1;
        if (entry.lasting) add(line.lasting, entry.claim, -1);
        this.advance();
        this.#forget(entry.project);
        reject(signal.reason as Error);
      };
      const admit = (): void => {
        signal.removeEventListener('abort', leave);
        resolve();
      };
      const waiting = { entry, cost, number: (this.#arrivals += 1), admit };
      // A project that comes back starts now, unless it had more than its share just before.
      if (line.waiting.size === 0) line.start = Math.max(line.start, this.#now);
      line.waiting.add(waiting);
      this.#waiting += 1;
      if (entry.lasting) add(line.lasting, entry.claim, 1);
      signal.addEventListener('abort', leave, { once: true });
      // Behind other work of its project it changes nothing.
      if (line.waiting.size === 1) this.advance();
    });
  }

  /** Returns the work whose turn it is. */
  #next(): Waiting | undefined {
    if (this.#waiting === 0) return undefined;
    let found: { readonly line: Line; readonly head: Waiting } | undefined;
    for (const [project, line] of this.#lines) {
      const [head] = line.waiting;
      // The quota last: there may be thousands of projects, and most of them are not next.
      if (head === undefined || (found !== undefined && !goesFirst({ line, head }, found))) continue;
      if (withinQuota(line, head, this.#quotaOf(project))) found = { line, head };
    }
    return found?.head;
  }

  #line(project: string): Line {
    const known = this.#lines.get(project);
    if (known !== undefined) return known;
    const line = { waiting: new Set<Waiting>(), used: new Map(), lasting: new Map(), places: 0, held: 0, start: 0 };
    this.#lines.set(project, line);
    return line;
  }

  /** Drops a line that nothing needs: its past does not matter once the others have caught up, or all is quiet. */
  #forget(project: string): void {
    const line = this.#lines.get(project);
    if (line !== undefined && line.places + line.waiting.size === 0 && line.start <= this.#now) {
      this.#lines.delete(project);
    }
    if (this.#waiting + this.#admitted > 0) return;
    this.#lines.clear();
    this.#now = 0;
  }

  #bounded(cost: Resources): Resources {
    return Object.fromEntries(
      Object.entries(this.#capacity).map(([name, most]) => [name, Math.min(cost[name] ?? 0, most)]),
    );
  }

  #fits(cost: Resources): boolean {
    return Object.entries(cost).every(
      ([name, amount]) => (this.#used.get(name) ?? 0) + amount <= (this.#capacity[name] ?? 0),
    );
  }

  #give(entry: Entry, cost: Resources): void {
    assert(this.#admitted > 0, 'a place is given back once');
    this.#change(entry, cost, -1);
    if (entry.lasting) add(this.#line(entry.project).lasting, entry.claim, -1);
    this.advance();
    this.#forget(entry.project);
  }

  #change({ project, claim, lasting = false }: Entry, cost: Resources, sign: 1 | -1): void {
    const line = defined(this.#lines.get(project), 'a project with places has a line');
    this.#admitted += sign;
    line.places += sign;
    if (!lasting) line.held += sign * share(cost, this.#capacity);
    add(this.#used, cost, sign);
    add(line.used, claim, sign);
  }
}

function add(sums: Map<string, number>, amounts: Resources | undefined, sign: 1 | -1): void {
  for (const [name, amount] of Object.entries(amounts ?? {})) sums.set(name, (sums.get(name) ?? 0) + sign * amount);
}

/** Returns the share of the capacity that a cost takes, of the resource of which it takes most. */
function share(cost: Resources, capacity: Resources): number {
  const shares = Object.entries(capacity).map(([name, most]) => (most > 0 ? (cost[name] ?? 0) / most : 0));
  return Math.ceil(Math.max(0, ...shares) * WHOLE);
}

/**
 * Reports whether the quota leaves room for the head of a line. A claim above the whole quota, which was lowered since the
 * work was accepted, fits when nothing else is in use.
 */
function withinQuota({ used }: Line, { entry: { claim = {} } }: Waiting, quota: Resources): boolean {
  return Object.entries(claim).every(([name, amount]) => {
    const limit = quota[name] ?? Infinity;
    return (used.get(name) ?? 0) + Math.min(amount, limit) <= limit;
  });
}

interface Candidate {
  readonly line: Line;
  readonly head: Waiting;
}

function goesFirst(one: Candidate, other: Candidate): boolean {
  if (one.line.held !== other.line.held) return one.line.held < other.line.held;
  if (one.line.start !== other.line.start) return one.line.start < other.line.start;
  return one.head.number < other.head.number;
}
