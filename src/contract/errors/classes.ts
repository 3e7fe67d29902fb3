/** Meaning of each class of fault for the caller: HTTP status, CLI exit code, and whether a retry can help. */
export const ERROR_CLASSES = {
  invalid: { http: 400, exit: 2, retry: 'never' },
  unauthenticated: { http: 401, exit: 3, retry: 'never' },
  denied: { http: 403, exit: 3, retry: 'never' },
  missing: { http: 404, exit: 4, retry: 'never' },
  conflict: { http: 409, exit: 5, retry: 'after a change' },
  exhausted: { http: 429, exit: 6, retry: 'later' },
  cancelled: { http: 409, exit: 7, retry: 'your choice' },
  unsupported: { http: 501, exit: 8, retry: 'never' },
  unavailable: { http: 503, exit: 9, retry: 'later' },
  corrupt: { http: 502, exit: 10, retry: 'never' },
  bug: { http: 500, exit: 70, retry: 'never' },
} as const;

export type Retry = (typeof ERROR_CLASSES)[ErrorClass]['retry'];
export type ErrorClass = keyof typeof ERROR_CLASSES;

/** One row of the table. */
export interface ErrorRow<Detail> {
  readonly class: ErrorClass;
  /** Overrides the status of the class, where HTTP has a more exact one. */
  readonly http?: number;
  /** Overrides whether a retry can help, where the same request always exceeds the same bound. */
  readonly retry?: Retry;
  readonly message: (detail: Detail) => string;
  /** One imperative sentence: the next step. */
  readonly hint: string;
}

/** Gives a row's message the type of its details. */
export function row<Detail>(row: ErrorRow<Detail>): ErrorRow<Detail> {
  return row;
}

/** Row of a request that exceeds a bound, and will every time. */
export function bound<Detail>(row: Pick<ErrorRow<Detail>, 'message' | 'hint'>): ErrorRow<Detail> {
  return { class: 'exhausted', http: 413, retry: 'after a change', ...row };
}
