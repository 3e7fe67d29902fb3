/** Minimum memory of a piece of bytes, however short: its object, and its place in a queue. */
const COST_BYTES_MIN = 512;

/** Returns the memory that one piece takes. Both ends of a connection are hostile and may send single bytes. */
export function pieceCost(bytes: number): number {
  return Math.max(bytes, COST_BYTES_MIN);
}
