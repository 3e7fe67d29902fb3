import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';

/** Interval of checks. */
const STEP_MS = 5;

/** Time limit, generous enough for any machine: a condition that does not hold by then never will. */
const PATIENCE_MS = 60_000;

/** Waits until the condition holds. For what no event announces; rejects with the condition's text when it never does. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  while (!(await condition())) {
    assert.ok(performance.now() < deadline, `did not become true: ${String(condition)}`);
    await delay(STEP_MS);
  }
}
