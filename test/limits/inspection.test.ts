import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { limits } from '../../src/contract/limits.ts';
import { MANY, openLimitsEngine } from './bench.ts';

const engine = await openLimitsEngine();
after(() => engine[Symbol.asyncDispose]());
const { large, other, small } = engine;

/** Pattern that is linear, but has thousands of states and no literal text to search for first. */
const BOMB = '(?:a|b|ab|ba|aa){1,900}[0-9]';

test('a search that cannot end is ended, and the engine answers everybody else meanwhile', async () => {
  await engine.holds(async () => {
    const query = new URLSearchParams({ pattern: BOMB, path: '/long' });
    const bomb = engine.send('GET', `/v1/inspect/${large}/grep?${query.toString()}`);
    const honest = await engine.send('GET', `/v1/inspect/${small}/grep?pattern=root&path=/etc/passwd`);
    assert.equal(honest.status, 200);
    const { status, json } = await bomb;
    assert.equal(status, 413);
    assert.deepEqual((json as { detail: unknown }).detail, { what: 'seconds', limit: limits.grepStopSecondsMax });
  });
});

test('a search whose client has left is ended with it', async () => {
  await engine.holds(async () => {
    const query = new URLSearchParams({ pattern: BOMB, path: '/long' });
    const left = fetch(`${engine.address}/v1/inspect/${large}/grep?${query.toString()}`, {
      signal: AbortSignal.timeout(300),
      headers: engine.authorization,
    });
    await assert.rejects(left, { name: 'TimeoutError' });
    // The maximum number per project: if they were still there, this would wait for them.
    const honest = await engine.send('GET', `/v1/inspect/${small}/grep?pattern=root&path=/etc/passwd`);
    assert.equal(honest.status, 200);
  });
});

for (const query of ['', '&text=1']) {
  test(`a folder of ${MANY} files is not listed (list${query}), and the limit is named`, async () => {
    await engine.holds(async () => {
      const { status, json } = await engine.send('GET', `/v1/inspect/${large}/list?path=/many${query}`);
      assert.equal(status, 413);
      assert.equal((json as { code: string }).code, 'INSPECTION_LIMIT');
    });
  });
}

test('pages of it are', async () => {
  await engine.holds(async () => {
    for (const offset of [0, MANY - 5]) {
      const page = `path=/many&limit=${limits.entriesListedMax}&offset=${offset}`;
      const { status, json } = await engine.send('GET', `/v1/inspect/${large}/list?${page}`);
      const { files, total } = json as { files: { path: string }[]; total: number };
      assert.deepEqual([status, total, files.length], [200, MANY, Math.min(limits.entriesListedMax, MANY - offset)]);
      assert.equal(files[0]?.path, `file-${String(offset).padStart(7, '0')}`);
    }
  });
});

test('14 listings of it at once', async () => {
  await engine.holds(async () => {
    const listings = Array.from({ length: 14 }, () => engine.drain('GET', `/v1/inspect/${large}/list?path=/many`));
    assert.deepEqual(new Set(await Promise.all(listings)), new Set([413]));
  });
});

test('its archive', async () => {
  await engine.holds(async () => {
    assert.equal(await engine.drain('GET', `/v1/inspect/${large}/archive?path=/many`), 200);
  });
});

test('its export', async () => {
  await engine.holds(async () => {
    assert.equal(await engine.drain('GET', `/v1/images/${large}/export`), 200);
  });
});

test('a search of all its files', async () => {
  await engine.holds(async () => {
    const { status, json } = await engine.send('GET', `/v1/inspect/${large}/grep?pattern=nothing&path=/many`);
    assert.equal(status, 200);
    assert.deepEqual((json as { matches: unknown[] }).matches, []);
  });
});

test('a comparison with another that has the same files with other content, and as much of an answer as may be had', async () => {
  await engine.holds(async () => {
    const { status, json } = await engine.send('GET', `/v1/inspect/${large}/diff?to=${other}&limit=1000000`);
    const { entries, modified, truncated } = json as { entries: unknown[]; modified: number; truncated: boolean };
    assert.deepEqual([status, entries.length, modified, truncated], [200, limits.entriesListedMax, MANY + 1, true]);
  });
});

test('more than may wait is refused, and the rest is answered', async () => {
  await engine.holds(async () => {
    const path = `/v1/inspect/${large}/list?path=/many`;
    const count = 2 * limits.inspectionsWaitingPerProject;
    const statuses = await Promise.all(Array.from({ length: count }, () => engine.drain('GET', path)));
    const of = (status: number): number => statuses.filter((answered) => answered === status).length;
    assert.ok(of(429) > 0, 'some are refused');
    assert.equal(of(413) + of(429), count);
  });
});
