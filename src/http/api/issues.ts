import type { z } from 'zod';

/** Issues shown in one answer; the rest is repetition. */
const ISSUES_SHOWN = 5;

/** Problems of a value as one line; `separator` stands between the field and what is wrong with it. */
export function describeIssues(issues: readonly z.core.$ZodIssue[], separator = ': '): string {
  return issues
    .slice(0, ISSUES_SHOWN)
    .map(({ path, message }) => `${path.length === 0 ? 'the body' : path.map(String).join('.')}${separator}${message}`)
    .join('; ')
    .slice(0, 1_000);
}
