import { unreachable } from '../std/assert.ts';
import { ContreeError, fault, faultFromReport } from '../contract/errors.ts';

/** Subject of a request, for naming it when the server only answers "not found". */
export type About =
  | { readonly kind: 'image'; readonly image: string }
  | { readonly kind: 'path'; readonly path: string; readonly wanted: 'file' | 'directory' }
  | { readonly kind: 'operation'; readonly operation: string }
  | { readonly kind: 'process'; readonly operation: string; readonly spid: number }
  | { readonly kind: 'upload'; readonly file: string }
  | { readonly kind: 'token'; readonly token: string }
  /** Route that only our own servers have. */
  | { readonly kind: 'addition'; readonly route: string }
  | { readonly kind: 'server' };

const REASON_CHARACTERS_MAX = 1_000;

/** Returns the fault in an answer's body, or the closest one for servers that send only a status and a text. */
export function faultFromAnswer(status: number, body: string, about: About): ContreeError {
  const report = parse(body);
  return faultFromReport(report) ?? faultFromStatus(status, reasonIn(report, body, status), about);
}

function parse(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}

function reasonIn(report: unknown, body: string, status: number): string {
  const error = typeof report === 'object' && report !== null && 'error' in report ? report.error : undefined;
  const stated = error === undefined ? body : error;
  const text = typeof stated === 'string' ? stated : JSON.stringify(stated);
  return text.slice(0, REASON_CHARACTERS_MAX) || `HTTP ${status}`;
}

function faultFromStatus(status: number, reason: string, about: About): ContreeError {
  if (status === 400) return fault('ARGUMENT_INVALID', { reason });
  if (status === 401) return fault('TOKEN_MISSING', {});
  if (status === 403) return new ContreeError('TOKEN_INVALID', `the server refused: ${reason}`, {});
  if (status === 404) return missing(reason, about);
  if (status === 409 && about.kind === 'operation') {
    return new ContreeError('OPERATION_FINISHED', reason, { operation: about.operation, status: 'finished' });
  }
  if (status === 422 && about.kind === 'path') {
    const code = about.wanted === 'file' ? 'NOT_A_FILE' : 'NOT_A_DIRECTORY';
    return new ContreeError(code, reason, { path: about.path, type: 'other' });
  }
  if (status === 425 && (about.kind === 'operation' || about.kind === 'process')) {
    return fault('INSTANCE_NOT_READY', { operation: about.operation });
  }
  return fault('REMOTE_FAILED', { status, reason });
}

function missing(reason: string, about: About): ContreeError {
  switch (about.kind) {
    case 'image':
      return fault('IMAGE_NOT_FOUND', { image: about.image });
    case 'path':
      // The hosted service answers "file not found" or "path not found" in this case, and names the image otherwise.
      if (/image/iu.test(reason)) return new ContreeError('IMAGE_NOT_FOUND', reason, { image: '' });
      return fault('FILE_NOT_FOUND', { path: about.path });
    case 'operation':
      return fault('OPERATION_NOT_FOUND', { operation: about.operation });
    case 'process':
      return fault('SUBPROCESS_NOT_FOUND', { operation: about.operation, spid: about.spid });
    case 'upload':
      return fault('UPLOAD_NOT_FOUND', { file: about.file });
    case 'token':
      return fault('TOKEN_NOT_FOUND', { token: about.token });
    case 'addition':
      return fault('ROUTE_NOT_FOUND', { route: about.route });
    case 'server':
      return fault('REMOTE_FAILED', { status: 404, reason });
    default:
      return unreachable(about);
  }
}
