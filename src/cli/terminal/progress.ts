import type { Cli } from '../cli.ts';
import { visible } from '../text.ts';

const BAR_CHARACTERS = 24;

/** Progress line that is redrawn at the bottom of a terminal; no output where standard error is not a terminal. */
export class ProgressLine implements Disposable {
  readonly #cli: Cli;
  readonly #shown: boolean;
  readonly #startedMs = performance.now();
  #drawnMs = -Infinity;

  constructor(cli: Cli) {
    this.#cli = cli;
    this.#shown = cli.host.stderr.isTTY === true && !cli.json;
  }

  /** Redraws the line. `done` and `total` have the same unit; without a total only the text is shown. */
  show(text: string, done?: number, total?: number): void {
    const now = performance.now();
    if (!this.#shown || now - this.#drawnMs < 50) return;
    this.#drawnMs = now;
    const seconds = ((now - this.#startedMs) / 1000).toFixed(0);
    const line = `${bar(done, total)}${visible(text)}  ${seconds} s`;
    const width = (this.#cli.host.stderr.columns ?? 80) - 1;
    this.#cli.host.stderr.write(`\r\x1b[2K${line.slice(0, width)}`);
  }

  [Symbol.dispose](): void {
    if (this.#shown && this.#drawnMs > 0) this.#cli.host.stderr.write('\r\x1b[2K');
  }
}

function bar(done: number | undefined, total: number | undefined): string {
  if (done === undefined || total === undefined || total <= 0) return '';
  const share = Math.min(1, done / total);
  const filled = Math.round(share * BAR_CHARACTERS);
  return `[${'='.repeat(filled)}${' '.repeat(BAR_CHARACTERS - filled)}] ${String(Math.floor(share * 100)).padStart(3)} %  `;
}
