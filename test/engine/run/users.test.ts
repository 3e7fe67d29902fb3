import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFault } from '../../../src/contract/errors.ts';
import { collectEvents, openEngine, run, script, stdoutOf } from '../bench.ts';

test('a user has the group and the HOME that the guest knows of it (B2)', async () => {
  const rows = ['root:x:0:0::/root:/bin/sh', 'bob:x:1000:100::/home/bob:/bin/sh', 'odd:x:7:x::relative:'];
  await using bench = await openEngine({ hooks: { passwd: rows.join('\n') } });
  const { engine } = bench;
  const cases = [
    [{ uid: 1000 }, '/home/bob', 100],
    [{ uid: 1000, gid: 7 }, '/home/bob', 7],
    [{ uid: 1000, env: { HOME: '/data' } }, '/data', 100],
    [{ uid: 1000, env: { HOME: null } }, '', 100],
    [{ uid: 4242 }, '/', 0],
    [{ uid: 7 }, '/', 0],
    [{ user: 'bob' }, '/home/bob', 100],
    [{ user: '1000:7' }, '/home/bob', 7],
    [{ user: 'bob', env: { HOME: '/data' } }, '/data', 100],
    [{ user: 'root' }, '/root', 0],
    [{}, '/root', 0],
  ] as const;
  for (const [user, home, gid] of cases) {
    const operation = await run(engine, script(bench, 'echo $HOME', user));
    assert.equal(stdoutOf(operation), `${home}\n`, JSON.stringify(user));
    const events = await collectEvents(engine.operations.events(operation.uuid));
    const spawned = events.find(({ type }) => type === 'spawn');
    assert.equal((spawned?.data as { gid?: number } | undefined)?.gid, gid, JSON.stringify(user));
  }
  const unknown = await run(engine, script(bench, 'echo ran', { user: 'nobody-here' }));
  assert.equal(unknown.status, 'FAILED');
  assert.match(unknown.error ?? '', /does not know the user of "nobody-here"/u);
  const both = script(bench, 'true', { user: 'bob', uid: 1 });
  await assert.rejects(run(engine, both), (error) => isFault(error, 'ARGUMENT_INVALID'));
});
