import {
  type KeyObject,
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  createSecretKey,
  hkdfSync,
  randomBytes,
  timingSafeEqual,
} from 'node:crypto';
import { fault } from '../../contract/errors.ts';

const CIPHER = 'aes-256-gcm';
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** Keys that all nodes of a cluster derive from its secret (HKDF, RFC 5869), each for one purpose. */
export class ClusterSecret {
  readonly #work: KeyObject;
  readonly #reuse: KeyObject;
  /** Bearer token of requests between nodes. */
  readonly peerToken: string;

  constructor(secret: string) {
    const derived = (purpose: string): Buffer => Buffer.from(hkdfSync('sha256', secret, '', `contree ${purpose}`, 32));
    // As keys, not as bytes, of which each use would make a key first.
    this.#work = createSecretKey(derived('work'));
    this.#reuse = createSecretKey(derived('reuse'));
    this.peerToken = `ctn_${derived('peers').toString('base64url')}`;
  }

  /** Returns the key of everything that a run of a project depends on: equal for equal texts, and not to be guessed. */
  reuseKey(project: string, text: string): string {
    return createHmac('sha256', this.#reuse).update(`${project}\0${text}`).digest('hex');
  }

  /** Reports whether a token is that of the nodes, in constant time. */
  isPeerToken(token: string): boolean {
    const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
    return timingSafeEqual(digest(token), digest(this.peerToken));
  }

  /** Encrypts a request, which may have secrets of users, for the catalogue. It can be opened for that operation only. */
  seal(value: unknown, operation: string): Buffer {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv(CIPHER, this.#work, nonce).setAAD(Buffer.from(operation));
    const sealed = Buffer.concat([cipher.update(JSON.stringify(value)), cipher.final()]);
    return Buffer.concat([nonce, cipher.getAuthTag(), sealed]);
  }

  /** Returns a sealed request. Faults: CONFIG_INVALID when it was sealed with another secret, or for another operation. */
  open(sealed: Buffer, operation: string): unknown {
    const body = NONCE_BYTES + TAG_BYTES;
    try {
      const decipher = createDecipheriv(CIPHER, this.#work, sealed.subarray(0, NONCE_BYTES));
      decipher.setAAD(Buffer.from(operation)).setAuthTag(sealed.subarray(NONCE_BYTES, body));
      const text = Buffer.concat([decipher.update(sealed.subarray(body)), decipher.final()]);
      return JSON.parse(text.toString('utf8'));
    } catch (error) {
      const reason = 'the nodes of the cluster have different ones';
      throw fault('CONFIG_INVALID', { setting: '--cluster-secret', reason }, { cause: error });
    }
  }
}
