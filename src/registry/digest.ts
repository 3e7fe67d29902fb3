import { hash } from 'node:crypto';

/** `sha256:` and 64 lower-case hexadecimal digits (OCI image-spec, descriptor.md). The only algorithm we accept. */
export type Digest = `sha256:${string}`;

const DIGEST = /^sha256:[0-9a-f]{64}$/u;

/** Reports whether a text is a digest, which is then safe as a file name and in a URL. */
export function isDigest(text: string): text is Digest {
  return DIGEST.test(text);
}

export function digestOf(bytes: Uint8Array): Digest {
  return fromHex(hash('sha256', bytes, 'hex'));
}

/** Returns the digest of a sha256 in hex. */
export function fromHex(sha256: string): Digest {
  return `sha256:${sha256}`;
}

/** Returns the chainID (image-spec, config.md) of a layer and everything below it. */
export function chainId(below: Digest | undefined, diffId: Digest): Digest {
  return below === undefined ? diffId : digestOf(Buffer.from(`${below} ${diffId}`));
}

/** Returns the 64 hexadecimal digits. */
export function hexOf(digest: Digest): string {
  return digest.slice('sha256:'.length);
}
