/** Options in a SYN (RFC 9293 §3.7.1, RFC 7323). */
export interface SynOptions {
  /** Bytes of payload that it takes in a segment. */
  readonly segmentBytes: number;
  /** Bits by which its windows are shifted; undefined when it does not scale, and we must not either. */
  readonly shift: number | undefined;
}

const SEGMENT_BYTES_DEFAULT = 536;
const SHIFT_MAX = 14;
/** Bits by which our own windows are shifted. */
export const OWN_SHIFT = 7;

/** Reads the options of a hostile SYN. Invalid options count as absent. */
export function readSynOptions(options: Buffer): SynOptions {
  let segmentBytes = SEGMENT_BYTES_DEFAULT;
  let shift: number | undefined;
  for (let at = 0; at < options.length;) {
    const kind = options[at] ?? 0;
    const length = kind === 1 ? 1 : (options[at + 1] ?? 0);
    if (kind === 0 || length === 0 || at + length > options.length) break;
    if (kind === 2 && length === 4) segmentBytes = Math.max(options.readUInt16BE(at + 2), SEGMENT_BYTES_DEFAULT);
    if (kind === 3 && length === 3) shift = Math.min(options[at + 2] ?? 0, SHIFT_MAX);
    at += length;
  }
  return { segmentBytes, shift };
}

/** The options of our SYN in answer to one with these. */
export function synOptions({ shift }: SynOptions, segmentBytes: number): Buffer {
  const scale = shift === undefined ? [] : [3, 3, OWN_SHIFT, 0];
  return Buffer.from([2, 4, segmentBytes >> 8, segmentBytes & 0xff, ...scale]);
}
