/** Answer that waits in memory for its reader. */
interface HeldAnswer {
  readonly project: string;
  readonly bytes: number;
  /** Ends the connection of the reader. */
  readonly cut: () => void;
}

/**
 * Bound of the memory of answers that wait for their readers, over all connections. Beyond it the project that holds the
 * most loses its oldest answer, whose reader is the slowest. So no project loses an answer to one that holds more.
 */
export class HeldAnswers {
  readonly #bytesMax: number;
  /** Oldest first. */
  readonly #held = new Set<HeldAnswer>();
  readonly #byProject = new Map<string, number>();
  #bytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** Bytes that are held at the moment. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Holds an answer until it is disposed of, and cuts others, or this one, if there is too much. */
  hold(answer: HeldAnswer): Disposable {
    this.#held.add(answer);
    this.#count(answer.project, answer.bytes);
    while (this.#bytes > this.#bytesMax) this.#cutOne();
    return { [Symbol.dispose]: () => this.#release(answer) };
  }

  #cutOne(): void {
    const [most] = [...this.#byProject].reduce((left, right) => (right[1] > left[1] ? right : left));
    const oldest = [...this.#held].find(({ project }) => project === most);
    if (oldest === undefined) return;
    this.#release(oldest);
    oldest.cut();
  }

  #release(answer: HeldAnswer): void {
    if (this.#held.delete(answer)) this.#count(answer.project, -answer.bytes);
  }

  #count(project: string, bytes: number): void {
    this.#bytes += bytes;
    const held = (this.#byProject.get(project) ?? 0) + bytes;
    if (held === 0) this.#byProject.delete(project);
    else this.#byProject.set(project, held);
  }
}
