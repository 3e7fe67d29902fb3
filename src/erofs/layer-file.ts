/** One layer of an image on the host: a complete EROFS file that nobody writes any more. */
export interface LayerFile {
  /** Absolute host path. */
  readonly path: string;
  /** Multiple of 4096. */
  readonly bytes: number;
  /** Another one after the file was replaced by a whole copy of itself: what was kept open of the old one is stale. */
  readonly version?: string;
}
