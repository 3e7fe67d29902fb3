/** Object in the object storage. */
export interface StoredObject {
  readonly key: string;
  readonly sha256: string;
  readonly bytes: number;
}

/** Object storage of a cluster: immutable contents by digest. */
export interface Objects {
  /** Stores a file; nothing is sent when it is there. */
  put(object: StoredObject & { readonly path: string }, signal: AbortSignal): Promise<void>;
  /** Stores a small content below a prefix, named by its digest. */
  putBytes(prefix: string, content: Uint8Array, signal: AbortSignal): Promise<StoredObject>;
  /** Yields an object. Ends with OBJECT_DAMAGED when length or digest differ. */
  read(object: StoredObject, signal: AbortSignal): AsyncIterable<Uint8Array>;
}
