const KEY = 'contree-token';

/** Error reported by the server, with the next step. */
export class Fault extends Error {
  /**
   * @param {object} facts
   * @param {string} facts.code from the error table; empty when the server is not ours or did not respond
   * @param {number} facts.status HTTP status; 0 without a response
   * @param {string} facts.message
   * @param {string} facts.hint
   */
  constructor({ code, status, message, hint }) {
    super(message);
    this.code = code;
    this.status = status;
    this.hint = hint;
  }
}

/** @returns {string} the token of this tab; empty when there is none */
export function token() {
  return sessionStorage.getItem(KEY) ?? '';
}

/** @param {string} value the token; empty removes it */
export function setToken(value) {
  if (value === '') sessionStorage.removeItem(KEY);
  else sessionStorage.setItem(KEY, value);
}

/**
 * Takes the token of a sign-in link (`#token=…`) and removes it from the address bar and the history.
 * @returns {boolean} whether there was one
 */
export function takeTokenOfLink() {
  const [, given] = /^#token=([\w-]+)$/u.exec(location.hash) ?? [];
  if (given === undefined) return false;
  setToken(given);
  history.replaceState(null, '', location.pathname + location.search);
  return true;
}

/** @type {(refused: boolean) => Promise<boolean>} */
let askForToken = async () => false;

/**
 * Sets the function that asks the user for a token when the server requires one. It returns true when the user gave
 * one.
 * @param {(refused: boolean) => Promise<boolean>} ask `refused` is true when the current token was not accepted
 */
export function onTokenNeeded(ask) {
  askForToken = ask;
}

/** @type {(there: boolean) => void} */
let onConnection = () => undefined;
let there = true;

/**
 * Sets the callback for the server becoming unreachable and reachable again.
 * @param {(there: boolean) => void} callback
 */
export function onConnectionChange(callback) {
  onConnection = callback;
}

/** @param {boolean} now */
function heard(now) {
  if (now !== there) onConnection(now);
  there = now;
}

/**
 * Sends a request to this page's own server, with the token if there is one. Rejects with `Fault`, or with the signal's
 * reason.
 * @param {string} path
 * @param {RequestInit} [init]
 * @returns {Promise<Response>}
 */
export async function request(path, init = {}) {
  for (;;) {
    const used = token();
    const headers = new Headers(init.headers);
    if (used !== '') headers.set('Authorization', `Bearer ${used}`);
    const response = await send(path, { ...init, headers, cache: 'no-store' });
    if (response.ok) return response;
    const fault = await faultOf(response);
    const tokenNeeded = fault.code === 'TOKEN_MISSING' || fault.code === 'TOKEN_INVALID';
    // Another request may have obtained a new token meanwhile.
    if (!tokenNeeded || !(used !== token() || (await askForToken(used !== '')))) throw fault;
  }
}

/**
 * @param {string} path
 * @param {RequestInit} init
 */
async function send(path, init) {
  try {
    const response = await fetch(path, init);
    heard(true);
    return response;
  } catch (error) {
    init.signal?.throwIfAborted();
    heard(false);
    throw new Fault({
      code: '',
      status: 0,
      message: `The server does not answer (${error instanceof Error ? error.message : 'no connection'}).`,
      hint: 'Check that it is running, then try again.',
    });
  }
}

/**
 * @param {Response} response
 * @returns {Promise<Fault>}
 */
async function faultOf(response) {
  const { status } = response;
  /** @type {{ code?: string, message?: string, hint?: string, error?: unknown }} */
  const body = await response.json().catch(() => ({}));
  const message = body.message ?? (typeof body.error === 'string' ? body.error : `The server answered ${status}.`);
  return new Fault({
    code: body.code ?? '',
    status,
    message,
    hint: body.hint ?? 'Try again, or check the server’s log.',
  });
}
