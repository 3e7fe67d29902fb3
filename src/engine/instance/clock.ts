import { limits } from '../../contract/limits.ts';

/** Reason for which the time of an instance is over. */
export type TimeUp = 'idle' | 'lifetime';

/** Seconds that an instance may be without use, and that it may stay. */
export interface StayTimes {
  readonly idleSeconds: number;
  readonly lifeSeconds: number;
}

/** Owner of a clock, who acts when time runs out. */
export interface ClockObserver {
  /** Called some time before the end, once per idle time and once per life. */
  readonly warn: (reason: TimeUp, endsAtMs: number) => void;
  readonly end: (reason: TimeUp) => void;
  /** Reports whether something uses the instance now, so that it is not idle. */
  readonly busy: () => boolean;
}

/** Longest time for which Node sets a timer. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** Time of an instance that stays: ends it when it was not used for a while, and when it has become too old. */
export class InstanceClock implements Disposable {
  readonly #times: StayTimes;
  readonly #observer: ClockObserver;
  readonly #startedAtMs = Date.now();
  #usedAtMs = Date.now();
  /** Ends of which the observer was warned. */
  readonly #warnedAtMs = new Map<TimeUp, number>();
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(times: StayTimes, observer: ClockObserver) {
    this.#times = times;
    this.#observer = observer;
    this.#look();
  }

  get usedAtMs(): number {
    return this.#observer.busy() ? Date.now() : this.#usedAtMs;
  }

  /** Time at which it ends unless it is used; undefined while it is in use. */
  get idleAtMs(): number | undefined {
    return this.#observer.busy() ? undefined : this.#usedAtMs + this.#times.idleSeconds * 1_000;
  }

  get endsAtMs(): number {
    return this.#startedAtMs + this.#times.lifeSeconds * 1_000;
  }

  /** Counts as a use: the idle time starts again. */
  used(): void {
    this.#usedAtMs = Date.now();
    this.#look();
  }

  [Symbol.dispose](): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  /** Warns and ends what is due, and sets the timer for what comes next. */
  #look(): void {
    clearTimeout(this.#timer);
    if (this.#stopped) return;
    const nextMs = [
      this.#due('lifetime', this.endsAtMs, this.#times.lifeSeconds),
      this.#due('idle', this.idleAtMs, this.#times.idleSeconds),
    ];
    if (this.#stopped) return;
    this.#timer = setTimeout(
      () => this.#look(),
      Math.min(TIMER_MS_MAX, ...nextMs.map((atMs) => Math.max(0, atMs - Date.now()))),
    ).unref();
  }

  /** Warns of an end or ends, if it is time to, and returns when to look again. */
  #due(reason: TimeUp, endsAtMs: number | undefined, seconds: number): number {
    if (endsAtMs === undefined) return Infinity;
    const now = Date.now();
    const warnAtMs = endsAtMs - Math.min(limits.instanceWarningSeconds, seconds / 2) * 1_000;
    if (now < warnAtMs || this.#stopped) return warnAtMs;
    if (this.#warnedAtMs.get(reason) !== endsAtMs) {
      this.#warnedAtMs.set(reason, endsAtMs);
      this.#observer.warn(reason, endsAtMs);
    }
    if (now >= endsAtMs) {
      this[Symbol.dispose]();
      this.#observer.end(reason);
    }
    return endsAtMs;
  }
}
