import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execute } from '../home.ts';

/** One check of the suite; `untestable` when the server lacks a fixture for it. */
export interface Check {
  readonly scenario: string;
  readonly id: string;
  readonly status: 'SUCCESS' | 'FAILURE' | 'WARNING' | 'SKIPPED' | 'INFO';
  readonly errorMessage?: string;
  readonly details?: { readonly untestable?: boolean };
}

const SUITE = fileURLToPath(import.meta.resolve('@modelcontextprotocol/conformance/dist/index.js'));
const ENTRY = /^server-(?<scenario>.+)-\d{4}-\d\d-\d\dT/u;

/** Runs the suite's checks of a protocol revision against a server. */
export async function runConformance(url: string, revision: string): Promise<readonly Check[]> {
  const folder = await mkdtemp(join(tmpdir(), 'contree-conformance-'));
  try {
    const args = [SUITE, 'server', '--url', url, '--requirements', revision, '--output-dir', folder];
    const { code, stdout, stderr } = await execute(process.execPath, args, { timeoutMs: 120_000 });
    const checks: Check[] = [];
    for (const name of await readdir(folder)) {
      const scenario = ENTRY.exec(name)?.groups?.['scenario'];
      if (scenario === undefined) throw new Error(`the suite wrote ${name}`);
      const found = JSON.parse(await readFile(join(folder, name, 'checks.json'), 'utf8')) as Omit<Check, 'scenario'>[];
      checks.push(...found.map((check) => ({ ...check, scenario })));
    }
    if (checks.length === 0) throw new Error(`the suite did not run (${code}): ${stdout}${stderr}`);
    return checks;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
