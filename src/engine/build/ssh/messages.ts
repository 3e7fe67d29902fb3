import { limits } from '../../../contract/limits.ts';

/** Numbers of messages of the SSH agent protocol (draft-ietf-sshm-ssh-agent §6.1) that are passed on. */
const REQUEST_IDENTITIES = 11;
const IDENTITIES_ANSWER = 12;
const SIGN_REQUEST = 13;
const SIGN_RESPONSE = 14;
/** Answer to a request that is refused or has failed (§3.2: SSH_AGENT_FAILURE). */
export const AGENT_FAILURE: Uint8Array = Buffer.from([5]);

/** Bytes of the length before a message. */
const HEAD_BYTES = 4;

/** A message is longer than `limits.sshMessageBytesMax`. */
export class MessageTooLong extends Error {
  override readonly name = 'MessageTooLong';
}

/**
 * Collects messages of the SSH agent protocol from pieces of a stream (§3: a length of four bytes, then as many bytes). Holds
 * one message at most, whose memory is allocated once its length is known to be permitted.
 */
export class MessageReader {
  readonly #head = Buffer.alloc(HEAD_BYTES);
  #body: Buffer | undefined;
  #filled = 0;

  /** Yields the messages that a piece completes. Throws MessageTooLong. */
  *take(piece: Uint8Array): Generator<Buffer> {
    for (let rest = piece; rest.byteLength > 0;) {
      const into = this.#body ?? this.#head;
      const part = rest.subarray(0, into.byteLength - this.#filled);
      into.set(part, this.#filled);
      this.#filled += part.byteLength;
      rest = rest.subarray(part.byteLength);
      if (this.#filled < into.byteLength) return;
      const body = this.#body ?? roomFor(this.#head.readUInt32BE());
      const isWhole = into === body || body.byteLength === 0;
      this.#filled = 0;
      this.#body = isWhole ? undefined : body;
      if (isWhole) yield body;
    }
  }
}

function roomFor(bytes: number): Buffer {
  if (bytes > limits.sshMessageBytesMax) throw new MessageTooLong(`a message of ${bytes} bytes`);
  return Buffer.alloc(bytes);
}

/** Returns a message with its length before it. */
export function framed(message: Uint8Array): Buffer {
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt32BE(message.byteLength);
  return Buffer.concat([head, message]);
}

/**
 * Returns the number of the answer to a request that may be passed on: listing identities, and signing. Undefined for
 * everything that would change the agent, for extensions (as BuildKit's forwarder), and for what is not well-formed.
 */
export function permittedAnswer(request: Buffer): number | undefined {
  if (request[0] === REQUEST_IDENTITIES && request.byteLength === 1) return IDENTITIES_ANSWER;
  if (request[0] === SIGN_REQUEST && isSignRequest(request)) return SIGN_RESPONSE;
  return undefined;
}

/** Reports whether a request has the fields of §4.6: key and data, each with its length, and flags. */
function isSignRequest(request: Buffer): boolean {
  let at = 1;
  for (let field = 0; field < 2; field += 1) {
    if (at + HEAD_BYTES > request.byteLength) return false;
    at += HEAD_BYTES + request.readUInt32BE(at);
  }
  return at + HEAD_BYTES === request.byteLength;
}
