import type { OperationEvent } from '../../contract/event.ts';
import { streamBytes } from '../../contract/stream.ts';
import { visible } from '../text.ts';

const LINE_BYTES_MAX = 64 * 1024;

/** Lines of a build as they come: those of the build itself, and the output of a step behind its number. */
export class BuildProgress {
  /** Output of each stream after its last line break. */
  readonly #open = new Map<string, Buffer>();

  /** Returns the text to show for an event; empty for none. */
  take(event: OperationEvent): string {
    const { type, spid = 0 } = event;
    if (type === 'exit') return this.#rest(spid);
    if (type !== 'stdout' && type !== 'stderr') return '';
    const key = `${spid} ${type}`;
    const bytes = Buffer.concat([this.#open.get(key) ?? Buffer.alloc(0), streamBytes(event.data)]);
    const end = bytes.length > LINE_BYTES_MAX ? bytes.length : bytes.lastIndexOf('\n') + 1;
    this.#open.set(key, bytes.subarray(end));
    return shown(spid, bytes.subarray(0, end));
  }

  /** Returns what a step wrote after its last line break. */
  #rest(spid: number): string {
    return ['stdout', 'stderr']
      .map((type) => shown(spid, this.#open.get(`${spid} ${type}`) ?? Buffer.alloc(0)))
      .join('');
  }
}

/** Output comes from guests: what could steer the terminal is escaped. Of a line that is overwritten its last state is shown. */
function shown(spid: number, bytes: Buffer): string {
  if (bytes.length === 0) return '';
  const lines = bytes
    .toString('utf8')
    .replace(/\r?\n$/u, '')
    .split(/\r?\n/u);
  const prefix = spid === 0 ? '' : `#${spid} `;
  return lines
    .map((line) => `${prefix}${visible(line.split('\r').at(-1) ?? '').replaceAll(String.raw`\t`, '  ')}\n`)
    .join('');
}
