import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { limits } from '../../src/contract/limits.ts';
import { guestMemoryMib } from '../../src/sandbox/memory-sizes.ts';

test('a guest gets at least the memory it was asked for, in one of a dozen sizes', () => {
  const { guestMemoryMibMin: least, guestMemoryMibMax: most } = limits;
  const sizes = new Set<number>();
  for (let asked = least; asked <= most; asked += 1) {
    const size = guestMemoryMib(asked);
    assert.ok(size >= asked, `${asked} → ${size}`);
    assert.ok(size === 1.5 * 2 ** Math.floor(Math.log2(size)) || Number.isInteger(Math.log2(size)), String(size));
    if (asked > 1_024) assert.ok(size <= 1.5 * asked, `${asked} → ${size}`);
    sizes.add(size);
  }
  const listed = [...sizes].map((size) => size.toLocaleString('en')).join(', ');
  assert.equal(sizes.size, 12);
  assert.ok(readFileSync('docs/microvm.md', 'utf8').includes(`${listed} MiB`), `docs/microvm.md lists ${listed}`);
  assert.equal(guestMemoryMib(limits.guestMemoryMibDefault), limits.guestMemoryMibDefault);
});
