import type { ProcessFacts } from '../run/live-instance.ts';

/** Number of commands that are remembered: more than the lineage shows of one image. */
const COMMANDS_MAX = 100;

/** Commands that have ended in an instance since its last image, oldest first; the oldest of many are forgotten. */
export class CommandTrail {
  #commands: readonly ProcessFacts[] = [];

  get all(): readonly ProcessFacts[] {
    return this.#commands;
  }

  add(facts: ProcessFacts): void {
    this.#commands = [...this.#commands, facts].slice(-COMMANDS_MAX);
  }

  /** Forgets commands that an image shows; those that ended while it was made stay. */
  forget(commands: readonly ProcessFacts[]): void {
    const shown = new Set(commands);
    this.#commands = this.#commands.filter((facts) => !shown.has(facts));
  }
}
