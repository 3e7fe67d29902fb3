import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempDisposable } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import type { DriverCheck } from '../../src/sandbox/driver.ts';
import { hasRunsc } from '../support/gvisor.ts';

const WITHOUT = join(import.meta.dirname, '../support/python/without.py');
const SANDBOXES = join(import.meta.dirname, '../support/processes/sandboxes.ts');

/** Abilities that a container may forbid, with their rules for `without.py`. */
const FORBIDDEN = [
  { rule: 'namespaces', refused: 'user namespaces', remedy: /^allow user namespaces: / },
  { rule: '101', refused: 'ptrace', remedy: /^allow ptrace: .*seccomp=unconfined/u },
  { rule: '317', refused: 'seccomp filters', remedy: /^allow seccomp: .*seccomp=unconfined/u },
] as const;

interface Seen {
  readonly checks: readonly DriverCheck[];
  /** Fault of a run that asked for gVisor. */
  readonly refusal: { readonly code: string; readonly reason: string; readonly remedy: string } | null;
}

async function sandboxesWithout(rules: readonly string[]): Promise<Seen> {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'contree-refused-'));
  const program = [process.execPath, SANDBOXES, folder.path];
  const { stdout } = await promisify(execFile)('python3', [WITHOUT, ...rules, '--', ...program], { cwd: '/' });
  return JSON.parse(stdout) as Seen;
}

// The filter is real, and so is what gVisor makes of it.
if (await hasRunsc()) {
  for (const { rule, refused, remedy } of FORBIDDEN) {
    test(`where ${refused} are refused, one line says so, auto takes microVMs, and a run that asks for gVisor is refused`, async () => {
      const { checks, refusal } = await sandboxesWithout([rule]);
      const check = (name: string): DriverCheck | undefined => checks.find((one) => one.name === name);
      const gvisor = check('gVisor');
      assert.equal(gvisor?.status, 'warning', JSON.stringify(checks));
      assert.match(
        gvisor.detail,
        new RegExp(`: no program runs in it: this host refuses gVisor ${refused} \\(Operation`),
      );
      assert.match(gvisor.remedy ?? '', remedy);
      const chosen = check('sandbox');
      assert.match(chosen?.detail ?? '', new RegExp(`^microvm: nothing faster works here .*gVisor ${refused}`));
      assert.ok(chosen?.remedy?.includes(gvisor.remedy ?? '?'), chosen?.remedy);
      assert.equal(refusal?.code, 'DRIVER_UNAVAILABLE');
      assert.match(refusal.reason, new RegExp(`^this host refuses gVisor ${refused} `));
      assert.match(refusal.remedy, remedy);
    });
  }
}
