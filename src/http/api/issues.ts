import type { z } from 'zod';

/** Maximum number of issues in one answer. */
const ISSUES_SHOWN = 5;

/** Returns the problems of a value as one line; `separator` stands between the field and its problem. */
export function describeIssues(issues: readonly z.core.$ZodIssue[], separator = ': '): string {
  return issues
    .slice(0, ISSUES_SHOWN)
    .map(({ path, message }) => `${path.length === 0 ? 'the body' : path.map(String).join('.')}${separator}${message}`)
    .join('; ')
    .slice(0, 1_000);
}
