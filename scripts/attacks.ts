import { existsSync, readFileSync } from 'node:fs';
import { mkdtempDisposable } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { run } from 'node:test';
import { searchRunsc } from '../src/sandbox/gvisor/runsc.ts';
import { openMicrovmDriver } from '../src/sandbox/microvm/driver.ts';
import { type Attack, attacksOf, type HeldBy, nameBeginning, sourcesOf, WITH_GUESTS } from './support/attack-table.ts';

/**
 * `npm run test:attacks`: runs the tests of every attack in docs/attacks.md on each sandbox of this machine and reports
 * their results. Arguments select items: `npm run test:attacks -- 25 F5`. Exits with 1 when one fails.
 */
const ROOT = join(import.meta.dirname, '..');
const FILE_MS_MAX = 900_000;
const FILES_AT_ONCE = 2;

interface Sandbox {
  readonly name: string;
  /** Variables that tell tests and engines to use it. */
  readonly env: Readonly<Record<string, string>>;
  readonly isThere: () => Promise<boolean>;
  /** Returns the tests that try an attack on it. */
  readonly testsOf: (attack: Attack) => readonly HeldBy[];
}

const MICROVM = { testsOf: ({ tests }: Attack) => tests };
const SANDBOXES: readonly Sandbox[] = [
  {
    ...MICROVM,
    name: 'microvm, emulated',
    env: { CONTREE_ACCELERATOR: 'emulated', CONTREE_DEFAULT_SANDBOX: 'microvm' },
    isThere: async () => true,
  },
  {
    ...MICROVM,
    name: 'microvm, kvm',
    env: { CONTREE_ACCELERATOR: 'kvm', CONTREE_DEFAULT_SANDBOX: 'microvm' },
    isThere: kvmWorks,
  },
  {
    name: 'gvisor',
    env: { CONTREE_DEFAULT_SANDBOX: 'gvisor' },
    isThere: hasRunsc,
    testsOf: ({ gvisor }: Attack) => gvisor,
  },
];

/** Reports whether this machine has a runsc that can be used. */
async function hasRunsc(): Promise<boolean> {
  const places = { path: process.env['PATH'] ?? '', guestDir: join(ROOT, 'guest/dist') };
  return (await searchRunsc(places, AbortSignal.timeout(FILE_MS_MAX))).found !== undefined;
}

/** Reports whether a guest starts with KVM: on some hosts /dev/kvm opens but no guest starts. */
async function kvmWorks(): Promise<boolean> {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'contree-attacks-'));
  const options = { stateDir: folder.path, guestDir: join(ROOT, 'guest/dist'), accelerator: 'auto' as const };
  await using driver = await openMicrovmDriver({ ...options, log: () => undefined });
  const checks = await driver.inspect(AbortSignal.timeout(FILE_MS_MAX));
  return checks.some(({ name, status }) => name === 'accelerator' && status === 'ok');
}

/** Names of the tests of a file, each with true when it passed. */
type Results = ReadonlyMap<string, boolean>;

/** Runs test files, two at a time as the whole suite does. Returns the results of each. */
async function resultsOf(files: readonly string[]): Promise<Map<string, Results>> {
  const sources = files.flatMap((file) => sourcesOf(file));
  const results = new Map(sources.map((file) => [file, new Map<string, boolean>()]));
  const stream = run({
    files: files.map((file) => join(ROOT, file)),
    timeout: FILE_MS_MAX,
    concurrency: FILES_AT_ONCE,
  });
  const record =
    (passed: boolean) =>
    ({ name, nesting, file = '' }: { name: string; nesting: number; file?: string }): void => {
      // Tests of a suite stand below its name.
      if (nesting === 0 || file.includes('/conformance/')) results.get(relative(ROOT, file))?.set(name, passed);
    };
  stream.on('test:pass', record(true));
  stream.on('test:fail', record(false));
  stream.on('test:summary', ({ file }) => file !== undefined && console.error(`ran ${relative(ROOT, file)}`));
  // All files have been run once this ends.
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

/** Returns the attacks with the tests that try them on a sandbox. Those that are not about it are left out. */
function aboutSandbox(attacks: readonly Attack[], { testsOf }: Sandbox): Attack[] {
  const about = attacks.map((attack) => ({ ...attack, tests: testsOf(attack) }));
  return about.filter(({ tests }, index) => tests.length > 0 || attacks[index]?.tests.length === 0);
}

async function tryAll(all: readonly Attack[], sandbox: Sandbox, known: Map<string, Results>): Promise<boolean> {
  Object.assign(process.env, sandbox.env);
  const attacks = aboutSandbox(all, sandbox);
  const files = new Set(attacks.flatMap(({ tests }) => tests.map(({ file }) => file)));
  const needed = [...files].filter(
    (file) => existsSync(join(ROOT, file)) && (WITH_GUESTS.test(file) || !known.has(file)),
  );
  for (const [file, results] of await resultsOf(needed)) known.set(file, results);
  let held = true;
  for (const { item, attack, tests } of attacks) {
    const failed: string[] = [];
    let count = 0;
    for (const test of tests) {
      if (!existsSync(join(ROOT, test.file))) failed.push(`${test.file} does not exist`);
      else {
        const found = sourcesOf(test.file).flatMap((file) => [...(known.get(file) ?? [])]);
        const outcome = outcomeOf(test, new Map(found));
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
process.chdir(ROOT);
const attacks = all.filter(({ item }) => chosen.length === 0 || chosen.includes(item));
const known = new Map<string, Results>();
const verdicts: boolean[] = [];
for (const sandbox of SANDBOXES) {
  if (await sandbox.isThere()) verdicts.push(await tryAll(attacks, sandbox, known));
  else console.log(`not on this machine: ${sandbox.name}`);
}
process.exitCode = attacks.length > 0 && verdicts.every(Boolean) ? 0 : 1;
