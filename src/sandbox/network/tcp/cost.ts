/** The least that a piece of bytes costs to hold, however short: its object, and its place in a queue. */
const COST_BYTES_MIN = 512;

/** Memory that one piece takes. Both ends of a connection are hostile and may well send single bytes. */
export function pieceCost(bytes: number): number {
  return Math.max(bytes, COST_BYTES_MIN);
}
