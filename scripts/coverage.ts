import { spawn } from 'node:child_process';
import { globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, sep } from 'node:path';

/**
 * `npm run coverage`: reports how much of each folder of `src` the unit tests execute (all but `test/vm`,
 * `test/e2e`, `test/kvm` and `test/limits`, which measure time or test other processes). `npm run coverage -- erofs store`:
 * how much of these folders is executed by their own tests, each alone.
 */
interface Tally {
  files: number;
  lines: number;
  linesRun: number;
  branches: number;
  branchesRun: number;
}

const FIELDS: Readonly<Record<string, keyof Tally>> = {
  LF: 'lines',
  LH: 'linesRun',
  BRF: 'branches',
  BRH: 'branchesRun',
};

/** Runs the tests and returns their coverage as LCOV. Failing tests set the exit code and are counted. */
async function lcovOf(tests: readonly string[]): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'contree-coverage-'));
  const report = join(folder, 'lcov.info');
  const reporters = ['lcov', report, 'dot', 'stdout'].map(
    (value, index) => `--test-reporter${index % 2 === 0 ? '' : '-destination'}=${value}`,
  );
  const limits = ['--test-timeout=900000', '--test-concurrency=2', '--test-coverage-include=src/**'];
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      const argv = ['--test', '--experimental-test-coverage', ...reporters, ...limits, ...tests];
      const child = spawn(process.execPath, argv, { stdio: ['ignore', 'inherit', 'inherit'] });
      child.on('error', reject);
      child.on('exit', resolve);
    });
    if (code !== 0) process.exitCode = 1;
    return readFileSync(report, 'utf8');
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Sums the files of an LCOV report by folder of `src`. */
function tallied(lcov: string): Map<string, Tally> {
  const tallies = new Map<string, Tally>();
  let tally: Tally | undefined;
  for (const line of lcov.split('\n')) {
    const [key = '', value = ''] = line.split(':');
    if (key === 'SF') {
      const folder = value.split(sep)[1] ?? '';
      tally = tallies.get(folder) ?? { files: 0, lines: 0, linesRun: 0, branches: 0, branchesRun: 0 };
      tally.files += 1;
      tallies.set(folder, tally);
    }
    const field = FIELDS[key];
    if (tally !== undefined && field !== undefined) tally[field] += Number(value);
  }
  return tallies;
}

function print(tallies: ReadonlyMap<string, Tally>): void {
  const share = (part: number, whole: number): string => (whole === 0 ? '–' : `${((100 * part) / whole).toFixed(1)} %`);
  for (const [folder, tally] of [...tallies].toSorted(([one], [other]) => one.localeCompare(other))) {
    const unseen = globSync(`src/${folder}/**/*.ts`).length - tally.files;
    const lines = share(tally.linesRun, tally.lines);
    const branches = share(tally.branchesRun, tally.branches);
    const columns = [folder.padEnd(10), `lines ${lines}`.padEnd(15), `branches ${branches}`.padEnd(18)];
    console.log(`${columns.join('  ')}  ${unseen === 0 ? '' : `${unseen} files not loaded`}`.trimEnd());
  }
}

const chosen = process.argv.slice(2);
const unit = globSync('test/**/*.test.ts').filter((file) => !/^test\/(?:vm|e2e|kvm|limits)\//u.test(file));
if (chosen.length === 0) print(tallied(await lcovOf(unit)));
for (const folder of chosen) {
  const tally = tallied(await lcovOf(unit.filter((file) => file.startsWith(`test/${folder}/`)))).get(folder);
  if (tally !== undefined) print(new Map([[folder, tally]]));
}
