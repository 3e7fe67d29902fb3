import { existsSync, readFileSync } from 'node:fs';
import { mkdtempDisposable } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from 'node:test';
import { openMicrovmDriver } from '../src/sandbox/microvm/driver.ts';
import { type Attack, attacksOf, type HeldBy, nameBeginning } from './support/attack-table.ts';

/**
 * `npm run test:attacks`: every attack of docs/attacks.md with the tests that hold it, and how they end on each sandbox
 * that this machine has. Arguments choose items: `npm run test:attacks -- 25 F5`. Ends with 1 when one is not held.
 */
const ROOT = join(import.meta.dirname, '..');
const FILE_MS_MAX = 900_000;
/** Tests that start guests; the others are the same on every sandbox. */
const WITH_GUESTS = /^test\/(?:vm|e2e)\//u;

interface Sandbox {
  readonly name: string;
  /** How tests are told to use it. */
  readonly env: Readonly<Record<string, string>>;
  readonly isThere: () => Promise<boolean>;
}

const SANDBOXES: readonly Sandbox[] = [
  { name: 'microvm, emulated', env: { CONTREE_ACCELERATOR: 'emulated' }, isThere: async () => true },
  { name: 'microvm, kvm', env: { CONTREE_ACCELERATOR: 'kvm' }, isThere: kvmWorks },
];

/** Whether a guest really starts with KVM: there are hosts where /dev/kvm opens and none ever does. */
async function kvmWorks(): Promise<boolean> {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'contree-attacks-'));
  const options = { stateDir: folder.path, guestDir: join(ROOT, 'guest/dist'), accelerator: 'auto' as const };
  await using driver = await openMicrovmDriver({ ...options, log: () => undefined });
  const checks = await driver.inspect(AbortSignal.timeout(FILE_MS_MAX));
  return checks.some(({ name, status }) => name === 'accelerator' && status === 'ok');
}

/** Name of each test of a file → whether it passed. */
type Results = ReadonlyMap<string, boolean>;

async function resultsOf(file: string): Promise<Results> {
  const results = new Map<string, boolean>();
  const stream = run({ files: [join(ROOT, file)], timeout: FILE_MS_MAX, concurrency: false });
  stream.on('test:pass', ({ name, nesting }) => nesting === 0 && results.set(name, true));
  stream.on('test:fail', ({ name, nesting }) => nesting === 0 && results.set(name, false));
  // Read to its end: the file has been run then.
  for await (const _event of stream);
  return results;
}

/** What became of one reference of the table: how many tests it names, and those that failed. */
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
    const verdict = tests.length === 0 ? 'OPEN  ' : isHeld ? 'held  ' : 'FAILED';
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
