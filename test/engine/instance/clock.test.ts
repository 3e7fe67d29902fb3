import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { InstanceClock } from '../../../src/engine/instance/clock.ts';

/** A clock in pretended time, and what it has said so far. */
function pretended(times: { readonly idleSeconds: number; readonly lifeSeconds: number }) {
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 0 });
  const said: string[] = [];
  let busy = false;
  const note = (what: string, reason: string): void => void said.push(`${Date.now() / 1_000} ${what} ${reason}`);
  const clock = new InstanceClock(times, {
    warn: (reason, endsAtMs) => note(`until ${endsAtMs / 1_000}`, reason),
    end: (reason) => note('end', reason),
    busy: () => busy,
  });
  return {
    clock,
    said,
    use: (running: boolean) => {
      busy = running;
      clock.used();
    },
    pass: (seconds: number) => {
      for (let passed = 0; passed < seconds; passed += 1) mock.timers.tick(1_000);
    },
    [Symbol.dispose]: () => {
      clock[Symbol.dispose]();
      mock.timers.reset();
    },
  };
}

test('an instance ends when it was idle, a minute after a warning; each use starts the time again', () => {
  using time = pretended({ idleSeconds: 300, lifeSeconds: 86_400 });
  time.pass(250);
  time.use(false);
  time.pass(250);
  assert.deepEqual(time.said, ['240 until 300 idle', '490 until 550 idle']);
  time.pass(60);
  assert.deepEqual(time.said.slice(2), ['550 end idle']);
  time.use(false);
  time.pass(1_000);
  assert.equal(time.said.length, 3, 'it ends once');
});

test('while it is used an instance is not idle, but its life ends', () => {
  using time = pretended({ idleSeconds: 10, lifeSeconds: 1_000 });
  time.use(true);
  assert.deepEqual([time.clock.idleAtMs, time.clock.endsAtMs], [undefined, 1_000_000]);
  time.pass(900);
  assert.deepEqual(time.said, []);
  time.use(false);
  assert.deepEqual([time.clock.idleAtMs, time.clock.usedAtMs], [910_000, 900_000]);
  time.use(true);
  time.pass(200);
  assert.deepEqual(time.said, ['940 until 1000 lifetime', '1000 end lifetime']);
});

test('a clock that is looked at too late still warns before it ends', () => {
  using time = pretended({ idleSeconds: 10, lifeSeconds: 1_000 });
  mock.timers.setTime(20_000);
  time.pass(1);
  assert.deepEqual(
    time.said.map((line) => line.replace(/^\d+ /u, '')),
    ['until 10 idle', 'end idle'],
  );
});
