import type { Quota } from '../contract/server.ts';
import { parseBytes } from '../std/sizes.ts';
import { list } from './setting.ts';

const MiB = 1024 ** 2;
const AMOUNT_MAX = 2 ** 50;

/** Names of the parts of a quota as people write them; amounts of memory and storage are sizes such as `8G`. */
const PARTS: Readonly<Record<string, { readonly field: keyof Quota; readonly unitBytes?: number }>> = {
  runs: { field: 'runs' },
  cpus: { field: 'cpus' },
  memory: { field: 'memory_mib', unitBytes: MiB },
  instances: { field: 'instances' },
  storage: { field: 'storage_bytes', unitBytes: 1 },
};

/** Names of the parts of a quota, in the order of a table. */
export const QUOTA_PARTS = Object.entries(PARTS).map(([name, { field, unitBytes }]) => ({ name, field, unitBytes }));

/** Parses one part such as `runs=4` or `memory=8G`; `null` for `runs=default`. Throws an Error that says what is wrong. */
export function quotaPart(text: string): { readonly field: keyof Quota; readonly value: number | null } {
  const [, name = '', amount = ''] = /^(\w+)=(.+)$/u.exec(text) ?? [];
  const part = Object.hasOwn(PARTS, name) ? PARTS[name] : undefined;
  if (part === undefined) {
    throw new Error(
      `expected ${Object.keys(PARTS).join(', ')} with an amount, as in runs=4, got ${JSON.stringify(text)}`,
    );
  }
  const { field, unitBytes } = part;
  if (amount === 'default') return { field, value: null };
  const plain = /^\d{1,9}$/u.test(amount) ? Number(amount) : undefined;
  const value = unitBytes === undefined ? plain : Math.floor((parseBytes(amount) ?? 0) / unitBytes);
  if (value === undefined || value < 1 || value > AMOUNT_MAX) {
    const kind =
      unitBytes === undefined ? 'a whole number from 1' : `a size from ${unitBytes === 1 ? '1' : '1M'}, such as 8G`;
    throw new Error(`${name}: expected ${kind}, got ${JSON.stringify(amount)}`);
  }
  return { field, value };
}

/** Parses parts such as `runs=4,memory=8G`; empty for none. Throws an Error that says what is wrong. */
export function quotaParts(text: string): readonly string[] {
  const parts = list(text);
  for (const part of parts) quotaPart(part);
  return parts;
}

/** Returns the quota that parts give. */
export function quotaOf(parts: readonly string[]): Quota {
  const found = parts.map(quotaPart).filter(({ value }) => value !== null);
  return Object.fromEntries(found.map(({ field, value }) => [field, value]));
}
