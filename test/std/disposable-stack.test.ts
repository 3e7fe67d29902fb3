import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SuppressedErrorPolyfill, AsyncDisposableStackPolyfill } from '../../src/std/disposable-stack.ts';

/** Ours and the language's own: both must behave alike. */
const KINDS = [
  ['built in', AsyncDisposableStack, SuppressedError],
  ['ours', AsyncDisposableStackPolyfill, SuppressedErrorPolyfill],
] as const;

for (const [kind, Stack, Suppressed] of KINDS) {
  test(`${kind}: cleanups run once, in reverse order, each after the one before`, async () => {
    const ran: string[] = [];
    const stack = new Stack();
    stack.defer(async () => {
      await Promise.resolve();
      ran.push('deferred');
    });
    assert.equal(stack.use({ tag: 1, [Symbol.dispose]: () => void ran.push('sync') }).tag, 1);
    stack.use({
      [Symbol.asyncDispose]: async () => {
        await Promise.resolve();
        ran.push('async');
      },
    });
    assert.equal(
      stack.adopt('x', (value) => void ran.push(`adopted ${value}`)),
      'x',
    );
    assert.equal(stack.use(undefined), undefined);
    assert.equal(stack.disposed, false);
    await stack[Symbol.asyncDispose]();
    await stack.disposeAsync();
    assert.deepEqual(ran, ['adopted x', 'async', 'sync', 'deferred']);
    assert.equal(stack.disposed, true);
  });

  test(`${kind}: of several errors none is lost`, async () => {
    const stack = new Stack();
    const [first, second] = [new Error('first'), new Error('second')];
    stack.defer(() => Promise.reject(second));
    stack.defer(() => {
      throw first;
    });
    await assert.rejects(stack.disposeAsync(), (error) => {
      assert.ok(error instanceof Suppressed && error.name === 'SuppressedError');
      assert.deepEqual([error.error, error.suppressed], [second, first]);
      return true;
    });
    const one = new Stack();
    one.defer(() => Promise.reject(first));
    await assert.rejects(one.disposeAsync(), (error) => error === first);
  });

  test(`${kind}: what was moved is another's to clean up, and a disposed stack takes nothing`, async () => {
    const ran: number[] = [];
    const stack = new Stack();
    stack.defer(() => void ran.push(1));
    const moved = stack.move();
    await stack.disposeAsync();
    assert.deepEqual(ran, []);
    await moved.disposeAsync();
    assert.deepEqual(ran, [1]);
    assert.throws(() => stack.defer(() => undefined), ReferenceError);
    assert.throws(() => moved.move(), ReferenceError);
    assert.throws(() => new Stack().use({} as Disposable), TypeError);
  });
}
