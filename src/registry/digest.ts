import { createHash, type Hash } from 'node:crypto';

/** `sha256:` and 64 lower-case hexadecimal digits (OCI image-spec, descriptor.md). The only algorithm we accept. */
export type Digest = `sha256:${string}`;

const DIGEST = /^sha256:[0-9a-f]{64}$/u;

/** Tells a digest from any other text; what passes is safe as a file name and in a URL. */
export function isDigest(text: string): text is Digest {
  return DIGEST.test(text);
}

export function digestOf(bytes: Uint8Array): Digest {
  return finish(createHash('sha256').update(bytes));
}

/** Ends a sha256 hash as a digest. */
export function finish(hash: Hash): Digest {
  return `sha256:${hash.digest('hex')}`;
}

/** image-spec, config.md: names a layer together with everything below it. */
export function chainId(below: Digest | undefined, diffId: Digest): Digest {
  return below === undefined ? diffId : digestOf(Buffer.from(`${below} ${diffId}`));
}

/** The 64 hexadecimal digits. */
export function hexOf(digest: Digest): string {
  return digest.slice('sha256:'.length);
}
