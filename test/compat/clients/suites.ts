import { mkdtempDisposable } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { command } from '../../../scripts/support/command.ts';
import type { ClientEngine } from './engine.ts';

/** Tests of one published client, which pip installs when they run. */
export interface Suite {
  readonly name: string;
  /** Requirements that pip installs, with pytest. */
  readonly packages: readonly string[];
  /** Package whose source distribution contains the tests; absent where they are ours, because it contains none. */
  readonly sdist?: string;
  /** File of tests, in the source distribution or in `python/`. */
  readonly tests: string;
  /** Number of tests that pass; fewer means that the suite was not run as a whole. */
  readonly passed: number;
}

export const SUITES: readonly Suite[] = [
  {
    name: 'contree-client 0.4.4, its own live suite',
    packages: ['contree-client[urllib3,requests,aiohttp,httpx]==0.4.4'],
    sdist: 'contree-client==0.4.4',
    tests: 'tests/test_integration.py',
    passed: 86,
  },
  {
    name: 'contree-sdk 0.3.6',
    packages: ['contree-sdk==0.3.6'],
    tests: 'sdk_cases.py',
    passed: 26,
  },
  {
    name: 'contree-sdk 0.4.0.dev5, the newest pre-release',
    packages: ['contree-sdk==0.4.0.dev5', 'httpx'],
    tests: 'sdk_cases.py',
    passed: 26,
  },
  { name: 'contree-cli 0.9.4', packages: ['contree-cli==0.9.4'], tests: 'cli_cases.py', passed: 19 },
  {
    // It does not start with mcp 2, which its own requirements allow.
    name: 'contree-mcp 0.5.0',
    packages: ['contree-mcp==0.5.0', 'mcp<2'],
    tests: 'mcp_cases.py',
    passed: 7,
  },
];

/** Time of one suite; the longest takes two minutes on a busy machine. */
const SUITE_MS_MAX = 800_000;

/** Numbers of tests by outcome, and those that did not pass, followed by the report. */
export interface SuiteResult {
  readonly counts: string;
  readonly passed: number;
  readonly unexpected: readonly string[];
}

/** Installs a suite and runs it with the engine. The result of a suite that cannot be run at all is its error. */
export async function runSuite(suite: Suite, { url, token }: ClientEngine): Promise<SuiteResult> {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'contree-suite-'));
  const python = join(folder.path, 'venv/bin/python');
  await command('python3', ['-m', 'venv', join(folder.path, 'venv')]);
  const pip = ['-m', 'pip', '--disable-pip-version-check', '--quiet'];
  await command(python, [...pip, 'install', 'pytest', ...suite.packages]);
  const tests =
    suite.sdist === undefined ? resolve(import.meta.dirname, 'python') : await unpack(suite.sdist, folder.path);
  const home = { HOME: folder.path, CONTREE_HOME: join(folder.path, 'contree') };
  // Exit code 1 means that tests failed, which the report says.
  const pytest = '"$1" -m pytest -q -rA --tb=short --no-header -p no:cacheprovider "$2" || [ $? = 1 ]';
  const output = await command('sh', ['-c', pytest, 'sh', python, suite.tests], {
    cwd: tests,
    timeout: SUITE_MS_MAX,
    env: { ...process.env, ...home, CONTREE_URL: url, CONTREE_TOKEN: token, PYTHONDONTWRITEBYTECODE: '1' },
  });
  const unexpected = [...output.matchAll(/^(FAILED|ERROR|SKIPPED|XFAIL) (.*)$/gmu)].map(([line]) => line);
  const counts = output.trimEnd().split('\n').at(-1) ?? '';
  return {
    counts,
    passed: Number(/(\d+) passed/u.exec(counts)?.[1] ?? 0),
    unexpected: unexpected.length === 0 ? [] : [...unexpected, output.slice(-20_000)],
  };
}

/** Fetches the source distribution of a package and returns the folder that it unpacks to. */
async function unpack(sdist: string, folder: string): Promise<string> {
  const [name = ''] = sdist.split('==');
  const pip = ['-m', 'pip', '--disable-pip-version-check', 'download', '--quiet', '--no-deps', '--no-binary', name];
  await command('python3', [...pip, '--dest', folder, sdist]);
  await command('sh', [
    '-c',
    'mkdir "$1/sdist" && tar xzf "$1"/*.tar.gz -C "$1/sdist" --strip-components 1',
    'sh',
    folder,
  ]);
  return join(folder, 'sdist');
}
