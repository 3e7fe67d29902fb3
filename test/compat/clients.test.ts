import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { clientEngine } from './clients/engine.ts';
import { runSuite, SUITES } from './clients/suites.ts';

/** The hosted service's published clients, with an engine and real guests. */
const engine = await clientEngine();
after(() => engine[Symbol.asyncDispose]());

for (const suite of SUITES) {
  test(suite.name, async (context) => {
    const { counts, passed, unexpected } = await runSuite(suite, engine);
    context.diagnostic(`${suite.name}: ${counts}`);
    assert.deepEqual(unexpected, []);
    assert.ok(passed >= suite.passed, counts);
  });
}
