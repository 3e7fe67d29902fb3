import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { connectStdio } from './support/mcp.ts';
import { sampleOf, timeMs } from './support/measure.ts';
import type { Place } from './support/place.ts';
import type { Report } from './support/report.ts';

const FILES = 5_000;
const ROUNDS = 5;

const KINDS = {
  first: { name: 'first time', budgetMs: 1_500 },
  unchanged: { name: 'nothing changed', budgetMs: 200 },
  changed: { name: '3 files changed', budgetMs: 250 },
} as const;
type Kind = keyof typeof KINDS;

const execute = promisify(execFile);

/** Makes a tree like a project's: 100 directories, files of 1 to 6 KiB. Every round has different contents. */
async function writeTree(folder: string, round: string): Promise<void> {
  for (let index = 0; index < FILES; index += 1) {
    if (index < 100) await mkdir(join(folder, `d${index}`), { recursive: true });
    await writeFile(
      join(folder, `d${index % 100}`, `f${index}.ts`),
      `// ${round} ${index}\n`.repeat(100 + (index % 400)),
    );
  }
}

async function edit(folder: string, turn: string): Promise<void> {
  for (let index = 0; index < 3; index += 1) {
    await writeFile(join(folder, `d${index}`, `f${index}.ts`), `edited ${turn} ${index}\n`);
  }
}

/** Copies by `rsync -a` if installed, else by `cp -a`. Neither makes anything that a run can use. */
async function peerCopy(): Promise<{ readonly name: string; readonly sync: Sync }> {
  try {
    await execute('rsync', ['--version']);
    return { name: 'rsync -a', sync: (from) => execute('rsync', ['-a', '--delete', `${from}/`, `${from}.copy`]) };
  } catch {
    return { name: 'cp -a', sync: (from) => execute('cp', ['-a', `${from}/.`, `${from}.copy`]) };
  }
}

type Sync = (source: string) => Promise<unknown>;
type Times = Record<Kind, number[]>;

/** Measures one tree: synced for the first time, unchanged, and after three edits. */
async function measureRound(sync: Sync, source: string, times: Times): Promise<void> {
  await writeTree(source, source);
  await mkdir(`${source}.copy`);
  times.first.push(await timeMs(() => sync(source)));
  times.unchanged.push(await timeMs(() => sync(source)));
  await edit(source, source);
  times.changed.push(await timeMs(() => sync(source)));
  await rm(source, { recursive: true });
  await rm(`${source}.copy`, { recursive: true });
}

/**
 * Measures rsync of 5,000 files through the MCP tool and the command line, compared with a copy into a local folder.
 */
export async function benchTransfer({ home }: Pick<Place, 'home'>, report: Report): Promise<void> {
  report.section('Transfers');
  const top = await mkdtemp(join(tmpdir(), 'contree-bench-transfer-'));
  await using mcp = await connectStdio(home.dataDir, ['--fs-root', top, '--cache-files', join(top, 'mcp.db')]);
  const peer = await peerCopy();
  const command = (source: string): string[] => ['rsync', '--cache-files', join(top, 'cli.db'), source, '/work'];
  const ways: Readonly<Record<'mcp' | 'cli' | 'peer', Sync>> = {
    mcp: (source) => mcp.call('rsync', { source, destination: '/work' }),
    cli: (source) => home.json(command(source)),
    peer: peer.sync,
  };
  const times = { mcp: emptyTimes(), cli: emptyTimes(), peer: emptyTimes() };
  try {
    for (let round = 0; round < ROUNDS; round += 1) {
      for (const way of ['mcp', 'peer', 'cli'] as const) {
        await measureRound(ways[way], join(top, `${way}-${round}`), times[way]);
      }
    }
  } finally {
    await rm(top, { recursive: true, force: true });
  }
  for (const [kind, { name, budgetMs }] of Object.entries(KINDS) as [Kind, (typeof KINDS)[Kind]][]) {
    const [tool, shell, copy] = [times.mcp[kind], times.cli[kind], times.peer[kind]].map(sampleOf);
    if (tool === undefined || shell === undefined || copy === undefined) continue;
    report.add({
      what: `rsync of 5,000 files, ${name}, by the MCP tool`,
      value: tool.medianMs,
      unit: 'ms',
      budget: { atMost: budgetMs },
      peer: `${peer.name} into a local folder ${copy.medianMs.toFixed(0)} ms`,
      note: `${tool.minMs.toFixed(0)} to ${tool.maxMs.toFixed(0)} ms in ${tool.count} rounds`,
    });
    report.add({
      what: `rsync of 5,000 files, ${name}, by the command, its start included`,
      value: shell.medianMs,
      unit: 'ms',
      note: `${shell.minMs.toFixed(0)} to ${shell.maxMs.toFixed(0)} ms in ${shell.count} rounds`,
    });
  }
}

function emptyTimes(): Times {
  return { first: [], unchanged: [], changed: [] };
}
