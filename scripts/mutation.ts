import { spawn } from 'node:child_process';
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * `npm run mutation [AREA…]`: plants small errors into a sample of an area's lines, one at a time, and reports those that no
 * test notices (docs/testing.md says how to read it). Takes about ten minutes for each area on two cores. Stryker is
 * fetched in this exact version and not installed with the rest: few need it, and it brings more than a hundred packages.
 */
const STRYKER = ['@stryker-mutator/core@10.0.0', '@stryker-mutator/tap-runner@10.0.0'];

/** The tests that are meant to notice. Each file is started anew for a mutant: large and slow ones are left out. */
const AREAS: Readonly<Record<string, readonly string[]>> = {
  erofs: ['test/erofs/*.test.ts', 'test/formats.test.ts'],
  layers: ['test/layers/{breakout,build-layer,layer-builder,merge-layers,pack,tree}.test.ts'],
  store: ['test/store/*.test.ts', 'test/formats.test.ts'],
};

/** So many lines in a row of every so many. */
const SAMPLED_LINES = 12;
const OF_LINES = 96;

/** The sampled ranges of the files, as if they were one: a short file may have none. */
function sampleOf(files: readonly string[]): string[] {
  const ranges: string[] = [];
  let before = 0;
  for (const file of files) {
    const lines = readFileSync(file, 'utf8').split('\n').length;
    const first = OF_LINES - (before % OF_LINES);
    for (let from = first; from <= lines; from += OF_LINES) {
      ranges.push(`${file}:${from}-${Math.min(lines, from + SAMPLED_LINES - 1)}`);
    }
    before += lines;
  }
  return ranges;
}

function configOf(area: string, testFiles: readonly string[]): object {
  return {
    testRunner: 'tap',
    plugins: ['@stryker-mutator/tap-runner'],
    tap: { testFiles, nodeArgs: ['--test-reporter=tap', '-r', '{{hookFile}}', '{{testFile}}'] },
    coverageAnalysis: 'perTest',
    mutate: sampleOf(globSync(`src/${area}/**/*.ts`).toSorted()),
    ignorePatterns: ['**', '!src/**', '!test/**', '!scripts/**', '!guest/agent/**', '!package.json'],
    // Words of messages are the business of golden files.
    mutator: { excludedMutations: ['StringLiteral'] },
    concurrency: 2,
    timeoutMS: 30_000,
    reporters: ['clear-text', 'json'],
    clearTextReporter: { reportTests: false, allowColor: false },
    jsonReporter: { fileName: `.stryker-tmp/${area}.json` },
    tempDirName: '.stryker-tmp/work',
  };
}

function stryker(config: string): Promise<boolean> {
  const packages = STRYKER.map((name) => `--package=${name}`);
  return new Promise((resolve, reject) => {
    const child = spawn('npm', ['exec', '--yes', ...packages, '--', 'stryker', 'run', config], { stdio: 'inherit' });
    child.on('error', reject);
    child.on('exit', (code) => resolve(code === 0));
  });
}

const areas = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(AREAS);
const folder = mkdtempSync(join(tmpdir(), 'contree-mutation-'));
try {
  for (const area of areas) {
    const testFiles = AREAS[area];
    if (testFiles === undefined) throw new Error(`no area ${area}; there are ${Object.keys(AREAS).join(', ')}`);
    const config = join(folder, `${area}.json`);
    writeFileSync(config, JSON.stringify(configOf(area, testFiles)));
    if (!(await stryker(config))) process.exitCode = 1;
  }
} finally {
  rmSync(folder, { recursive: true });
}
