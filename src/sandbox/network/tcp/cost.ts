/** The least that a piece of bytes costs to hold, however short: its object, and its place in a queue. */
const COST_BYTES_MIN = 512;

/** What it takes to hold one piece. Both ends of a connection are hostile and may well send single bytes. */
export function pieceCost(bytes: number): number {
  return Math.max(bytes, COST_BYTES_MIN);
}
