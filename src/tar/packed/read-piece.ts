/** Returns the next bytes of the input, at least one; undefined at its end. */
export type ReadPiece = () => Uint8Array | undefined;
