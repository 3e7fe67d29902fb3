/** Object by its key and its content. */
export interface ObjectName {
  /** Key below the prefix of the store, such as `layers/<sha256>`. */
  readonly key: string;
  /** sha256 of the content, hex. */
  readonly sha256: string;
  readonly bytes: number;
}

/** Content of an object that is stored: a file, or bytes that are in memory anyway. */
export type ObjectSource = { readonly path: string } | { readonly content: Uint8Array };

/** Object as the store lists it. */
export interface ObjectEntry {
  readonly key: string;
  readonly bytes: number;
  /** Time at which it was written, by the clock of the store (ms since 1970). */
  readonly modifiedMs: number;
}

/**
 * Store of the bytes of a cluster: objects that never change, named by the sha256 of their content. Requests are tried again a
 * bounded number of times. All reject with the reason of the signal, OBJECTS_UNAVAILABLE and OBJECTS_DENIED.
 */
export interface ObjectStore extends Disposable {
  /** Rejects where the bucket does not exist or may not be used. */
  check(signal: AbortSignal): Promise<void>;
  /**
   * Stores a content. Nothing is sent when an object of that key and length is there, which is not asked for where the key
   * `isNew`. The store checks the digests that are sent
   * along. Rejects with STORE_CORRUPT when the file has not that content.
   */
  put(object: ObjectName & ObjectSource & { readonly isNew?: boolean }, signal: AbortSignal): Promise<void>;
  /** Stores small content under `prefix` and its sha256, and returns its name. */
  putBytes(prefix: string, content: Uint8Array, signal: AbortSignal): Promise<ObjectName>;
  /**
   * Yields the content of an object. A transfer that breaks off is continued. The iteration ends normally only if length and
   * sha256 are those of the name; otherwise it throws OBJECT_DAMAGED. Throws OBJECT_MISSING.
   */
  read(object: ObjectName, signal: AbortSignal): AsyncIterable<Uint8Array>;
  /** Returns the entry of an object; undefined when there is none. */
  head(key: string, signal: AbortSignal): Promise<ObjectEntry | undefined>;
  /** Deletes objects; those that are not there are no error. */
  delete(keys: readonly string[], signal: AbortSignal): Promise<void>;
  /** Yields the objects whose key begins with `prefix`, in the order of their keys. */
  list(prefix: string, signal: AbortSignal): AsyncIterable<ObjectEntry>;
  /** Ends uploads that were begun before that time (of the store) and never completed. Returns their number. */
  endUploads(begunBeforeMs: number, signal: AbortSignal): Promise<number>;
}

/** Beginning of the keys of each kind of object; the sha256 of the content follows. */
export const OBJECT_PREFIXES = { layer: 'layers/', file: 'files/', state: 'states/', log: 'logs/' } as const;
