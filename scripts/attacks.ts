import { existsSync, readFileSync } from 'node:fs';
import { mkdtempDisposable } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from 'node:test';
import { openMicrovmDriver } from '../src/sandbox/microvm/driver.ts';
import { type Attack, attacksOf, type HeldBy, nameBeginning } from './support/attack-table.ts';

/**
 * `npm run test:attacks`: runs the tests of every attack in docs/attacks.md on each sandbox of this machine and reports
 * their results. Arguments select items: `npm run test:attacks -- 25 F5`. Exits with 1 when one fails.
 */
const ROOT = join(import.meta.dirname, '..');
const FILE_MS_MAX = 900_000;
/** Tests that start guests; the others are the same on every sandbox. */
const WITH_GUESTS = /^test\/(?:vm|e2e)\//u;

interface Sandbox {
  readonly name: string;
  /** Variable that tells tests to use it. */
  readonly env: Readonly<Record<string, string>>;
  readonly isThere: () => Promise<boolean>;
}

const SANDBOXES: readonly Sandbox[] = [
  { name: 'microvm, emulated', env: { CONTREE_ACCELERATOR: 'emulated' }, isThere: async () => true },
  { name: 'microvm, kvm', env: { CONTREE_ACCELERATOR: 'kvm' }, isThere: kvmWorks },
];

/** Reports whether a guest starts with KVM: on some hosts /dev/kvm opens but no guest starts. */
async function kvmWorks(): Promise<boolean> {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'contree-attacks-'));
  const options = { stateDir: folder.path, guestDir: join(ROOT, 'guest/dist'), accelerator: 'auto' as const };
  await using driver = await openMicrovmDriver({ ...options, log: () => undefined });
  const checks = await driver.inspect(AbortSignal.timeout(FILE_MS_MAX));
  return checks.some(({ name, status }) => name === 'accelerator' && status === 'ok');
}

/** Runs a test file. Returns which of its tests passed, by name. */
type Results = ReadonlyMap<string, boolean>;

async function resultsOf(file: string): Promise<Results> {
  const results = new Map<string, boolean>();
  const stream = run({ files: [join(ROOT, file)], timeout: FILE_MS_MAX, concurrency: false });
  stream.on('test:pass', ({ name, nesting }) => nesting === 0 && results.set(name, true));
  stream.on('test:fail', ({ name, nesting }) => nesting === 0 && results.set(name, false));
  // The file has been run once this ends.
  for await (const _event of stream);
  return results;
}

/** Result of one reference in the table: how many tests it names, and which failed. */
function outcomeOf(
  { names }: HeldBy,
  results: Results,
): { readonly count: number; readonly failed: readonly string[] } {
  const patterns = names.map(nameBeginning);
  const meant = [...results].filter(([name]) => patterns.length === 0 || patterns.some((one) => one.test(name)));
  const missing = names.filter((_, index) => !meant.some(([name]) => patterns[index]?.test(name)));
  const failed = meant.filter(([, passed]) => !passed).map(([name]) => name);
  return { count: meant.length, failed: [...failed, ...missing.map((name) => `no test is called "${name}"`)] };
}

async function tryAll(attacks: readonly Attack[], sandbox: Sandbox, shared: Map<string, Results>): Promise<boolean> {
  Object.assign(process.env, sandbox.env);
  const own = new Map<string, Results>();
  let held = true;
  for (const { item, attack, tests } of attacks) {
    const failed: string[] = [];
    let count = 0;
    for (const test of tests) {
      const known = WITH_GUESTS.test(test.file) ? own : shared;
      const results = known.get(test.file) ?? (existsSync(join(ROOT, test.file)) && (await resultsOf(test.file)));
      if (results === false) failed.push(`${test.file} does not exist`);
      else {
        known.set(test.file, results);
        const outcome = outcomeOf(test, results);
        count += outcome.count;
        failed.push(...outcome.failed.map((name) => `${test.file}: ${name}`));
      }
    }
    const isHeld = count > 0 && failed.length === 0;
    const tried = isHeld ? 'held  ' : 'FAILED';
    const verdict = tests.length === 0 ? 'OPEN  ' : tried;
    console.log(`${verdict} ${item.padEnd(3)} [${sandbox.name}] ${count} tests: ${attack}`);
    for (const { file, names } of tests) console.log(`         ${file}${names.map((name) => ` "${name}"`).join('')}`);
    for (const line of failed) console.log(`         failed: ${line}`);
    held &&= isHeld;
  }
  return held;
}

const chosen = process.argv.slice(2);
const all = attacksOf(readFileSync(join(ROOT, 'docs/attacks.md'), 'utf8'));
const attacks = all.filter(({ item }) => chosen.length === 0 || chosen.includes(item));
const shared = new Map<string, Results>();
const verdicts: boolean[] = [];
for (const sandbox of SANDBOXES) {
  if (await sandbox.isThere()) verdicts.push(await tryAll(attacks, sandbox, shared));
  else console.log(`not on this machine: ${sandbox.name}`);
}
process.exitCode = attacks.length > 0 && verdicts.every(Boolean) ? 0 : 1;
