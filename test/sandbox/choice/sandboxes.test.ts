import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fault, isFault } from '../../../src/contract/errors.ts';
import {
  type NativeVerdict,
  openSandboxes,
  type SandboxCandidate,
  type SandboxesOptions,
} from '../../../src/sandbox/choice/sandboxes.ts';
import type { BootSpec, SandboxKind } from '../../../src/sandbox/driver.ts';
import { FakeDriver } from '../../support/fake-sandbox/driver.ts';

const soon = (): AbortSignal => AbortSignal.timeout(60_000);
const SPEC: BootSpec = {
  layers: [],
  cpus: 1,
  memoryMib: 128,
  diskBytes: 1,
  hostname: 'box',
  network: { mode: 'none' },
};

interface Outcome {
  /** Result of the trial; an error rejects it. */
  readonly trial: NativeVerdict | Error;
  /** Rejection of each start. */
  readonly start?: Error;
}

const SLOW: Outcome = { trial: { native: false, reason: 'emulated', remedy: 'use KVM' } };
const NATIVE: Outcome = { trial: { native: true, reason: 'it ran' } };
const ABSENT: Outcome = { trial: fault('DRIVER_UNAVAILABLE', { reason: 'not installed', remedy: 'install it' }) };
const BROKEN = fault('DRIVER_UNAVAILABLE', { reason: 'it broke' });

/** Both sandboxes, which note each trial and each start. */
function bench(microvm: Outcome, gvisor: Outcome, options: Partial<SandboxesOptions> = {}) {
  const seen: string[] = [];
  const candidate = (kind: SandboxKind, { trial, start }: Outcome): SandboxCandidate => ({
    kind,
    driver: new FakeDriver({
      beforeBoot: async () => {
        seen.push(`start ${kind}`);
        if (start !== undefined) throw start;
      },
    }),
    tryNative: async () => {
      seen.push(`try ${kind}`);
      if (trial instanceof Error) throw trial;
      return trial;
    },
  });
  const driver = openSandboxes({
    candidates: [candidate('microvm', microvm), candidate('gvisor', gvisor)],
    setting: 'auto',
    log: (message) => seen.push(message),
    ...options,
  });
  return { driver, seen };
}

/** Starts and trials of one run, in order. */
async function runIn(outcomes: readonly [Outcome, Outcome], sandbox?: BootSpec['sandbox']): Promise<string[]> {
  const { driver, seen } = bench(...outcomes);
  await using _driver = driver;
  await using _instance = await driver.start({ ...SPEC, ...(sandbox !== undefined && { sandbox }) }, soon());
  return seen.filter((line) => /^(?:try|start) /u.test(line));
}

test('auto takes the first sandbox that is native, and tries no other after it', async () => {
  assert.deepEqual(await runIn([NATIVE, NATIVE]), ['try microvm', 'start microvm']);
  assert.deepEqual(await runIn([SLOW, NATIVE]), ['try microvm', 'try gvisor', 'start gvisor']);
  assert.deepEqual(await runIn([ABSENT, NATIVE]), ['try microvm', 'try gvisor', 'start gvisor']);
});

test('auto takes the slow sandbox where nothing is native', async () => {
  assert.deepEqual(await runIn([SLOW, SLOW]), ['try microvm', 'try gvisor', 'start microvm']);
  assert.deepEqual(await runIn([SLOW, ABSENT]), ['try microvm', 'try gvisor', 'start microvm']);
});

test('a run that names a sandbox gets it without a trial', async () => {
  assert.deepEqual(await runIn([NATIVE, SLOW], 'gvisor'), ['start gvisor']);
  assert.deepEqual(await runIn([SLOW, NATIVE], 'microvm'), ['start microvm']);
});

test('what was chosen is chosen once', async () => {
  const { driver, seen } = bench(SLOW, NATIVE);
  await using _driver = driver;
  for (let run = 0; run < 3; run += 1) await (await driver.start(SPEC, soon()))[Symbol.asyncDispose]();
  assert.equal(seen.filter((line) => line.startsWith('try')).length, 2);
});

test('a chosen sandbox that does not start any more is replaced for the run, and tried again for the next', async () => {
  const { driver, seen } = bench(SLOW, { ...NATIVE, start: BROKEN });
  await using _driver = driver;
  await using _first = await driver.start(SPEC, soon());
  await using _second = await driver.start(SPEC, soon());
  const tries = ['try microvm', 'try gvisor', 'start gvisor', 'start microvm'];
  assert.deepEqual(
    seen.filter((line) => /^(?:try|start) /u.test(line)),
    [...tries, ...tries],
  );
});

test('a run that names a sandbox which does not start is refused with its reason', async () => {
  const { driver, seen } = bench(NATIVE, { ...NATIVE, start: BROKEN });
  await using _driver = driver;
  await assert.rejects(driver.start({ ...SPEC, sandbox: 'gvisor' }, soon()), (error) => {
    return isFault(error, 'DRIVER_UNAVAILABLE') && error.detail['reason'] === 'it broke';
  });
  assert.deepEqual(seen, ['start gvisor']);
});

test('inspect() says which sandbox runs get, and what was tried', async () => {
  const { driver } = bench(SLOW, NATIVE);
  await using _driver = driver;
  const [chosen] = await driver.inspect(soon());
  assert.deepEqual(chosen, { name: 'sandbox', status: 'ok', detail: 'gvisor (microvm: emulated; gvisor: it ran)' });
});

test('where nothing is native, inspect() says what would make runs faster, and tries again', async () => {
  const { driver, seen } = bench(SLOW, ABSENT);
  await using _driver = driver;
  await (await driver.start(SPEC, soon()))[Symbol.asyncDispose]();
  const faster = 'to make runs faster, use KVM, or install it';
  const detail = 'microvm: nothing faster works here (microvm: emulated; gvisor: not installed)';
  assert.ok(seen.includes(`runs get the sandbox ${detail}; ${faster}`), seen.join('\n'));
  const tries = (): number => seen.filter((line) => line.startsWith('try')).length;
  assert.equal(tries(), 2);
  const [chosen] = await driver.inspect(soon());
  assert.deepEqual(chosen, { name: 'sandbox', status: 'warning', detail, remedy: faster });
  assert.equal(tries(), 4);
});
