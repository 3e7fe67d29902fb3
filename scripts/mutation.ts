import { spawn } from 'node:child_process';
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * `npm run mutation [AREA…]`: makes small errors in a sample of an area's lines, one at a time, and reports those that
 * no test notices (docs/testing.md says how to read the report). Stryker is fetched in this exact version and not a
 * development dependency: few need it, and it has more than a hundred packages.
 */
const STRYKER = ['@stryker-mutator/core@10.0.0', '@stryker-mutator/tap-runner@10.0.0'];

interface Area {
  /** Test files that should notice the errors. They are loaded into one process, which is started once per mutant. */
  readonly tests: readonly string[];
  /** The sample is `SAMPLED_LINES` consecutive lines out of this many. */
  readonly ofLines: number;
}

/** Tests that take several seconds are left out, except where nothing else covers the same code. */
const AREAS: Readonly<Record<string, Area>> = {
  erofs: { tests: ['test/erofs/{layer,reader-pool,xattr}.test.ts', 'test/formats.test.ts'], ofLines: 192 },
  layers: {
    tests: ['test/layers/{breakout,build-layer,layer-builder,pack,symlinks,tree}.test.ts'],
    ofLines: 192,
  },
  store: { tests: ['test/store/*.test.ts'], ofLines: 480 },
};

const SAMPLED_LINES = 12;

/** Returns the sampled ranges, counted over all files as if they were one; a short file may have none. */
function sampleOf(files: readonly string[], ofLines: number): string[] {
  const ranges: string[] = [];
  let before = 0;
  for (const file of files) {
    const lines = readFileSync(file, 'utf8').split('\n').length;
    const first = ofLines - (before % ofLines);
    for (let from = first; from <= lines; from += ofLines) {
      ranges.push(`${file}:${from}-${Math.min(lines, from + SAMPLED_LINES - 1)}`);
    }
    before += lines;
  }
  return ranges;
}

function configOf(area: string, { ofLines }: Area): object {
  return {
    testRunner: 'tap',
    plugins: ['@stryker-mutator/tap-runner'],
    tap: {
      testFiles: ['scripts/support/mutation-tests.ts'],
      nodeArgs: ['--test-reporter=tap', '-r', '{{hookFile}}', '{{testFile}}'],
    },
    coverageAnalysis: 'perTest',
    mutate: sampleOf(globSync(`src/${area}/**/*.ts`).toSorted(), ofLines),
    ignorePatterns: ['**', '!src/**', '!test/**', '!scripts/**', '!guest/agent/**', '!package.json'],
    // Texts of messages are compared by golden files.
    mutator: { excludedMutations: ['StringLiteral'] },
    concurrency: 1,
    timeoutMS: 30_000,
    reporters: ['progress-append-only', 'clear-text', 'json'],
    clearTextReporter: { reportTests: false, allowColor: false },
    jsonReporter: { fileName: `.stryker-tmp/${area}.json` },
    tempDirName: '.stryker-tmp/work',
  };
}

function stryker(config: string, tests: readonly string[]): Promise<boolean> {
  const packages = STRYKER.map((name) => `--package=${name}`);
  return new Promise((resolve, reject) => {
    const child = spawn('npm', ['exec', '--yes', ...packages, '--', 'stryker', 'run', config], {
      stdio: 'inherit',
      env: { ...process.env, CONTREE_MUTATION_TESTS: tests.join(' ') },
    });
    child.on('error', reject);
    child.on('exit', (code) => resolve(code === 0));
  });
}

const areas = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(AREAS);
const folder = mkdtempSync(join(tmpdir(), 'contree-mutation-'));
try {
  for (const area of areas) {
    const row = AREAS[area];
    if (row === undefined) throw new Error(`no area ${area}; there are ${Object.keys(AREAS).join(', ')}`);
    const config = join(folder, `${area}.json`);
    writeFileSync(config, JSON.stringify(configOf(area, row)));
    if (!(await stryker(config, row.tests))) process.exitCode = 1;
  }
} finally {
  rmSync(folder, { recursive: true });
}
