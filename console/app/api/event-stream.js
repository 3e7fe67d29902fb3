/** @import { OperationEvent } from '../../../src/contract/event.ts' */
import { Fault, request } from './session.js';
import { v1 } from './v1.js';

const RETRY_MS = [500, 1_000, 2_000, 4_000, 8_000];
/** Longest silence: keepalives arrive every 15 s, so the connection is dead after three times as long. */
const SILENCE_MS = 45_000;

/**
 * One message of a server-sent event stream.
 * @typedef {{ id: string | undefined, event: string, data: string }} Message
 */

/** Parser of server-sent events (WHATWG HTML, 9.2.6) that takes text in pieces. */
export class MessageParser {
  #rest = '';
  /** @type {{ id: string | undefined, event: string, data: string[] }} */
  #next = { id: undefined, event: 'message', data: [] };

  /**
   * @param {string} text
   * @returns {Message[]} the complete messages, without comments and messages without data
   */
  feed(text) {
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/u);
    this.#rest = lines.pop() ?? '';
    return lines.flatMap((line) => this.#line(line));
  }

  /**
   * @param {string} line
   * @returns {Message[]}
   */
  #line(line) {
    if (line === '') {
      const { id, event, data } = this.#next;
      this.#next = { id, event: 'message', data: [] };
      return data.length > 0 ? [{ id, event, data: data.join('\n') }] : [];
    }
    const [, name = '', value = ''] = /^([^:]*)(?:: ?(.*))?$/su.exec(line) ?? [];
    if (name === 'data') this.#next.data.push(value);
    if (name === 'event') this.#next.event = value;
    if (name === 'id') this.#next.id = value;
    return [];
  }
}

/**
 * Yields the messages of a response as they arrive.
 * @param {AsyncIterable<Uint8Array>} body
 * @returns {AsyncGenerator<Message>}
 */
export async function* messages(body) {
  const decoder = new TextDecoder();
  const parser = new MessageParser();
  for await (const chunk of body) yield* parser.feed(decoder.decode(chunk, { stream: true }));
}

/**
 * Yields the chunks of a response until it ends or stays silent for too long.
 * @param {Response} response
 * @param {AbortController} connection
 * @returns {AsyncGenerator<Uint8Array>}
 */
export async function* chunks(response, connection) {
  const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
  try {
    for (;;) {
      const timer = setTimeout(() => connection.abort(new Error('silence')), SILENCE_MS);
      const { done, value } = await reader.read().finally(() => clearTimeout(timer));
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => undefined);
  }
}

/**
 * Follows an operation's log to its end across broken connections: each new connection begins after the last event
 * seen. `onState` is called when the state of the connection changes.
 * @param {string} operation
 * @param {AbortSignal} signal
 * @param {(state: 'live' | 'waiting') => void} onState
 * @param {number} [spid] only this process's
 * @returns {AsyncGenerator<OperationEvent>}
 */
export async function* follow(operation, signal, onState, spid) {
  const log = { last: -1, failures: 0, ended: false, spid };
  for (;;) {
    try {
      yield* connect(operation, log, signal, () => onState('live'));
      if (log.ended) return;
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof Fault && isFinal(error)) throw error;
    }
    onState('waiting');
    await pause(RETRY_MS[Math.min(log.failures, RETRY_MS.length - 1)] ?? 0, signal);
    log.failures += 1;
  }
}

/**
 * Yields the events of one connection after the last event seen.
 * @param {string} operation
 * @param {{ last: number, failures: number, ended: boolean, spid: number | undefined }} log the position reached; updated
 *   while reading
 * @param {AbortSignal} signal
 * @param {() => void} onOpen
 * @returns {AsyncGenerator<OperationEvent>}
 */
async function* connect(operation, log, signal, onOpen) {
  const connection = new AbortController();
  const headers = { Accept: 'text/event-stream', ...(log.last >= 0 && { 'Last-Event-Id': String(log.last) }) };
  const address = v1(`/operations/${operation}/events`, { follow: true, full: true, spid: log.spid });
  try {
    const response = await request(address, { headers, signal: AbortSignal.any([signal, connection.signal]) });
    onOpen();
    for await (const { event: name, data } of messages(chunks(response, connection))) {
      if (name === 'sse_error') return;
      /** @type {OperationEvent} */
      const event = JSON.parse(data);
      if (event.id <= log.last) continue;
      [log.last, log.failures, log.ended] = [event.id, 0, event.type === 'completion'];
      yield event;
    }
  } finally {
    connection.abort();
  }
}

/**
 * Reports whether a retry cannot help.
 * @param {Fault} fault
 */
function isFinal({ status }) {
  return status >= 400 && status < 500 && ![408, 425, 429].includes(status);
}

/**
 * @param {number} ms
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener('abort', () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });
}
