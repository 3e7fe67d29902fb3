/** One layer of an image on the host: a complete EROFS file that nobody writes any more. */
export interface LayerFile {
  /** Absolute host path. */
  readonly path: string;
  /** Multiple of 4096. */
  readonly bytes: number;
}
