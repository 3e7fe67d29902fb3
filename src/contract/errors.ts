import { assert } from '../std/assert.ts';
import { ERROR_CLASSES, type ErrorClass, type ErrorRow, type Retry } from './errors/classes.ts';
import { ERRORS } from './error-table.ts';

export { ERROR_CLASSES, ERRORS, type ErrorClass };

export type ErrorCode = keyof typeof ERRORS;
/** Details of a code, as needed by its message: flat strings and numbers. */
export type ErrorDetail<Code extends ErrorCode> = unknown extends Parameters<(typeof ERRORS)[Code]['message']>[0]
  ? Readonly<Record<string, never>>
  : Parameters<(typeof ERRORS)[Code]['message']>[0];

/** Serialized form of a fault, the same everywhere: REST body (with `error`), MCP result, CLI `--json`. */
export interface ErrorReport {
  readonly code: ErrorCode;
  readonly class: ErrorClass;
  readonly message: string;
  readonly hint: string;
  /** Flat strings and numbers; no host paths, no secrets. */
  readonly detail: Readonly<Record<string, string | number | undefined>>;
}

/** Fault: a request that could not be fulfilled, with the reason. Match on `code`, not on `instanceof`. */
export class ContreeError extends Error {
  override readonly name = 'ContreeError';
  readonly code: ErrorCode;
  readonly detail: Readonly<Record<string, string | number | undefined>>;

  constructor(
    code: ErrorCode,
    message: string,
    detail: Readonly<Record<string, string | number | undefined>>,
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.code = code;
    this.detail = detail;
  }

  get class(): ErrorClass {
    return ERRORS[this.code].class;
  }

  get hint(): string {
    return ERRORS[this.code].hint;
  }

  get httpStatus(): number {
    const { http, class: errorClass }: ErrorRow<never> = ERRORS[this.code];
    return http ?? ERROR_CLASSES[errorClass].http;
  }

  get exitCode(): number {
    return ERROR_CLASSES[this.class].exit;
  }

  /** Answer to whether the same request may succeed later. */
  get retry(): Retry {
    const { retry, class: errorClass }: ErrorRow<never> = ERRORS[this.code];
    return retry ?? ERROR_CLASSES[errorClass].retry;
  }

  toJSON(): ErrorReport {
    return { code: this.code, class: this.class, message: this.message, hint: this.hint, detail: this.detail };
  }
}

/** Length limit of text quoted in a fault, because it may come from outside. */
const QUOTED_CHARACTERS_MAX = 4_096;

function bounded(detail: ContreeError['detail']): ContreeError['detail'] {
  const long = Object.entries(detail).filter(
    ([, fact]) => typeof fact === 'string' && fact.length > QUOTED_CHARACTERS_MAX,
  );
  if (long.length === 0) return detail;
  const cut = long.map(([name, fact]) => [name, `${String(fact).slice(0, QUOTED_CHARACTERS_MAX)}…`] as const);
  return { ...detail, ...Object.fromEntries(cut) };
}

/** Makes a fault: `throw fault('IMAGE_NOT_FOUND', { image })`. The type of `detail` follows from the code. */
export function fault<Code extends ErrorCode>(
  code: Code,
  detail: ErrorDetail<Code>,
  options?: ErrorOptions,
): ContreeError {
  const { message }: { message: (detail: never) => string } = ERRORS[code];
  const facts = bounded(detail as unknown as ContreeError['detail']);
  return new ContreeError(code, message(facts as never), facts, options);
}

/** Reports whether an unknown thrown value is a fault, optionally of one of the given codes. */
export function isFault(error: unknown, ...codes: readonly ErrorCode[]): error is ContreeError {
  const found = typeof error === 'object' && error !== null && 'code' in error && 'detail' in error;
  if (!found || typeof error.code !== 'string' || !(error.code in ERRORS)) return false;
  return codes.length === 0 || codes.includes(error.code as ErrorCode);
}

/** Rebuilds a fault from the report that another process sent; undefined when it is not one of ours. */
export function faultFromReport(report: unknown): ContreeError | undefined {
  if (typeof report !== 'object' || report === null) return undefined;
  const { code, message, detail } = report as Partial<ErrorReport>;
  if (typeof code !== 'string' || !(code in ERRORS) || typeof message !== 'string') return undefined;
  return new ContreeError(code, message, typeof detail === 'object' ? detail : {});
}

for (const [code, { hint }] of Object.entries(ERRORS)) assert(hint.endsWith('.'), `${code} has no hint`);
