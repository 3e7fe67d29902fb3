/** One state of the files: an image, and the line that made it. */
export interface Moment {
  readonly image: string;
  /** Line after which the image was made; of the first moment, the image as it was named. */
  readonly line: string;
  readonly parent: Moment | undefined;
}

/** States that a session went through, as a tree: after going back, other lines make another branch. */
export class Timeline {
  readonly #moments: Moment[] = [];
  #current: Moment;
  /** Moments that were left by going back, the next one last. */
  #ahead: Moment[] = [];

  constructor(image: string, name: string) {
    this.#current = this.#add({ image, line: name, parent: undefined });
  }

  get current(): Moment {
    return this.#current;
  }

  /** Moments in the order in which they were made. */
  get moments(): readonly Moment[] {
    return this.#moments;
  }

  /** Adds the image that a line made of the current one. */
  made(image: string, line: string): void {
    this.#current = this.#add({ image, line, parent: this.#current });
    this.#ahead = [];
  }

  /** Goes to the moment before the current one. Returns undefined, and stays, when there is none. */
  back(): Moment | undefined {
    const { parent } = this.#current;
    if (parent === undefined) return undefined;
    this.#ahead.push(this.#current);
    return (this.#current = parent);
  }

  /** Goes to the moment that was left last. Returns undefined, and stays, when there is none. */
  forward(): Moment | undefined {
    const next = this.#ahead.pop();
    if (next !== undefined) this.#current = next;
    return next;
  }

  /** Goes to the moment of that image; one that was not of this session begins a branch under the name that was used. */
  go(image: string, name: string): Moment {
    const known = this.#moments.findLast((moment) => moment.image === image);
    this.#ahead = [];
    this.#current = known ?? this.#add({ image, line: name, parent: undefined });
    return this.#current;
  }

  #add(moment: Moment): Moment {
    this.#moments.push(moment);
    return moment;
  }
}
