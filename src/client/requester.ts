import { collect } from '../std/bytes.ts';
import { fault, isFault, type ContreeError } from '../contract/errors.ts';
import { limits } from '../contract/limits.ts';
import type { SchemaName } from '../contract/api/row.ts';
import { faultFromAnswer, type About } from './faults.ts';
import { mayRetry, retryDelayMs } from './retry.ts';
import { pause } from '../std/abort.ts';
import { ConnectError, SilentError, type ServerAnswer, type Outgoing, type Sender } from './transport.ts';

/**
 * Retries when no connection can be made. Few: a server that restarts is back soon, and a mistyped name never resolves.
 */
const CONNECT_RETRIES = 3;
const ERROR_BYTES_MAX = 64 * 1024;
/** Size limit of a JSON answer, which is held in memory as a whole. */
const JSON_BYTES_MAX = 4 * limits.jsonBodyBytesMax;

export interface RequesterOptions {
  readonly transport: Sender;
  /** Makes sure that a server is running; called when no connection could be made. */
  readonly revive?: (signal?: AbortSignal) => Promise<void>;
  /** True for servers that we did not start: their answers are untrusted and are validated. */
  readonly checked: boolean;
  /** Headers sent with every request, in addition to those of the transport. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** Sends requests with retries (contract of the hosted service); failures are faults. */
export class Requester {
  readonly #options: RequesterOptions;

  constructor(options: RequesterOptions) {
    this.#options = options;
  }

  /** Returns a requester of the same server that also sends these headers. */
  withHeaders(headers: Readonly<Record<string, string>>): Requester {
    return new Requester({ ...this.#options, headers: { ...this.#options.headers, ...headers } });
  }

  /** Returns the answer once its status shows success. Its body must be read or destroyed. */
  async open(outgoing: Outgoing, about: About, signal?: AbortSignal): Promise<ServerAnswer> {
    // A streamed body cannot be sent twice, so the engine must be running before.
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

  /** Returns the value of a JSON answer, validated if the server is not ours. */
  async check(name: SchemaName, value: unknown): Promise<unknown> {
    if (!this.#options.checked) return value;
    // Loading the schemas takes longer than a request to the local engine, whose answers need no validation.
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
    // Our own refusal: a retry changes nothing.
    if (isFault(error)) return { error };
    const { revive } = this.#options;
    const unseen = error instanceof ConnectError;
    // Every time, not only the first: the engine may have been shutting down when we looked.
    if (unseen && revive && attempt < CONNECT_RETRIES) {
      await revive(signal);
      return { error, waitMs: 0 };
    }
    const reason = error instanceof Error ? error.message : String(error);
    const unreachable = revive
      ? fault('ENGINE_UNAVAILABLE', { reason }, { cause: error })
      : fault('REMOTE_FAILED', { status: 0, reason }, { cause: error });
    // A server that was silent for minutes is not asked again.
    const again = (unseen || (safe && !(error instanceof SilentError))) && attempt < CONNECT_RETRIES;
    return { error: unreachable, waitMs: again ? retryDelayMs(attempt, undefined) : undefined };
  }
}

/** Returns the code reported by our own servers; undefined for faults that only represent another server's status. */
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
    // A body that was cut short may still explain the failure.
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
    throw fault('REMOTE_FAILED', { status, reason: 'the answer is not valid JSON' }, { cause: error });
  }
}
