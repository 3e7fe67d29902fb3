import { collect } from '../std/bytes.ts';
import { fault, isFault, type ContreeError } from '../contract/errors.ts';
import { limits } from '../contract/limits.ts';
import type { SchemaName } from '../contract/api/row.ts';
import { faultFromAnswer, type About } from './faults.ts';
import { mayRetry, retryDelayMs } from './retry.ts';
import { pause } from '../std/abort.ts';
import { ConnectError, type ServerAnswer, type Outgoing, type Sender } from './transport.ts';

/** Repetitions when no connection can be made: a server that restarts is back soon, a mistyped name never is. */
const CONNECT_RETRIES = 3;
const ERROR_BYTES_MAX = 64 * 1024;
/** An answer in JSON is held in memory whole. */
const JSON_BYTES_MAX = 4 * limits.jsonBodyBytesMax;

export interface RequesterOptions {
  readonly transport: Sender;
  /** Makes sure that there is a server; asked when no connection could be made. */
  readonly revive?: (signal?: AbortSignal) => Promise<void>;
  /** True for servers that we did not start: their answers are untrusted and are validated. */
  readonly checked: boolean;
  /** Sent with every request, besides those of the transport. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** Requests with retries (contract of the hosted service), whose failures are faults. */
export class Requester {
  readonly #options: RequesterOptions;

  constructor(options: RequesterOptions) {
    this.#options = options;
  }

  /** The same server, asked with these headers too. */
  withHeaders(headers: Readonly<Record<string, string>>): Requester {
    return new Requester({ ...this.#options, headers: { ...this.#options.headers, ...headers } });
  }

  /** The answer, as soon as it is known to be no error. Its body must be read or destroyed. */
  async open(outgoing: Outgoing, about: About, signal?: AbortSignal): Promise<ServerAnswer> {
    // A streamed body is gone once it was sent, so the engine must be there before.
    if (outgoing.bytes !== undefined) await this.#options.revive?.(signal);
    for (let attempt = 0; ; attempt += 1) {
      const { answer, error, waitMs } = await this.#attempt(outgoing, { about, attempt }, signal);
      if (answer !== undefined) return answer;
      if (waitMs === undefined) throw error;
      await pause(waitMs, signal);
    }
  }

  async json(name: SchemaName, outgoing: Outgoing, about: About, signal?: AbortSignal): Promise<unknown> {
    const answer = await this.open(outgoing, about, signal);
    return this.check(name, await readJson(answer, signal));
  }

  /** Sends a request whose answer has no body. */
  async done(outgoing: Outgoing, about: About, signal?: AbortSignal): Promise<void> {
    (await this.open(outgoing, about, signal)).resume();
  }

  /** The value, checked where it comes from a server that is not ours. */
  async check(name: SchemaName, value: unknown): Promise<unknown> {
    if (!this.#options.checked) return value;
    // The schemas take longer to load than a request to the local engine takes, which does not need them.
    const { checkAnswer } = await import('./answers.ts');
    return checkAnswer(name, value);
  }

  async #attempt(
    outgoing: Outgoing,
    { about, attempt }: { readonly about: About; readonly attempt: number },
    signal: AbortSignal | undefined,
  ): Promise<{ answer?: ServerAnswer; error?: unknown; waitMs?: number | undefined }> {
    const safe = outgoing.method === 'GET' || outgoing.method === 'HEAD';
    const { transport, headers: own } = this.#options;
    let answer: ServerAnswer;
    try {
      answer = await transport.send({ ...outgoing, headers: { ...own, ...outgoing.headers } }, signal);
    } catch (error) {
      signal?.throwIfAborted();
      const unanswered = await this.#unanswered(error, { attempt, safe }, signal);
      return outgoing.bytes === undefined ? unanswered : { error: unanswered.error };
    }
    const { statusCode: status = 0, headers } = answer;
    if (status < 400) return { answer };
    const error = await readFault(answer, about);
    const again = outgoing.bytes === undefined && mayRetry(status, ownCode(error), safe);
    return { error, waitMs: again ? retryDelayMs(attempt, headers['retry-after']) : undefined };
  }

  async #unanswered(
    error: unknown,
    { attempt, safe }: { readonly attempt: number; readonly safe: boolean },
    signal: AbortSignal | undefined,
  ): Promise<{ error: unknown; waitMs?: number | undefined }> {
    // Refused by ourselves: no repetition changes that.
    if (isFault(error)) return { error };
    const { revive } = this.#options;
    const unseen = error instanceof ConnectError;
    // Not only the first time: the engine may have been on its way out when we looked.
    if (unseen && revive && attempt < CONNECT_RETRIES) {
      await revive(signal);
      return { error, waitMs: 0 };
    }
    const reason = error instanceof Error ? error.message : String(error);
    const unreachable = revive
      ? fault('ENGINE_UNAVAILABLE', { reason }, { cause: error })
      : fault('REMOTE_FAILED', { status: 0, reason }, { cause: error });
    const again = (unseen || safe) && attempt < CONNECT_RETRIES;
    return { error: unreachable, waitMs: again ? retryDelayMs(attempt, undefined) : undefined };
  }
}

/** The code that our own servers report; undefined for faults that only stand for a foreign status. */
function ownCode(error: ContreeError): string | undefined {
  return error.code === 'REMOTE_FAILED' ? undefined : error.code;
}

async function readFault(answer: ServerAnswer, about: About): Promise<ContreeError> {
  const chunks: Buffer[] = [];
  let total = 0;
  try {
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      total += chunk.byteLength;
      if (total > ERROR_BYTES_MAX) break;
    }
  } catch {
    // What arrived of the explanation is still one.
  }
  return faultFromAnswer(answer.statusCode ?? 0, Buffer.concat(chunks).toString('utf8'), about);
}

async function readJson(answer: ServerAnswer, signal: AbortSignal | undefined): Promise<unknown> {
  const status = answer.statusCode ?? 0;
  try {
    return JSON.parse((await collect(answer, JSON_BYTES_MAX)).toString('utf8'));
  } catch (error) {
    signal?.throwIfAborted();
    if (isFault(error)) throw error;
    throw fault('REMOTE_FAILED', { status, reason: 'the answer is not the JSON it should be' }, { cause: error });
  }
}
