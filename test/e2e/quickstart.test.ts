import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { cliHome, execute, ROOT } from '../support/home.ts';

/** Part of an operation that says how it was run. */
interface Shown {
  readonly execution: { readonly sandbox: string; readonly accelerator: string };
}

test(
  'the quickstart tells the whole branching story and says how to add the server',
  { timeout: 900_000 },
  async () => {
    await using home = await cliHome();
    const script = join(ROOT, 'scripts/quickstart.ts');
    const told = await execute(process.execPath, [script, '--local', '--data-dir', home.dataDir], {
      timeoutMs: 850_000,
    });
    assert.equal(told.code, 0, `${told.stdout.slice(-3_000)}${told.stderr}`);
    const calls = [...told.stdout.matchAll(/^▸ (\w+)\(/gmu)].map(([, name]) => name);
    const story = ['list_images', 'import_image', 'run', 'set_tag', 'run', 'run', 'wait_operations', 'read_file'];
    assert.deepEqual(calls, story);
    assert.match(
      told.stdout,
      /sum\(prices\) \* \(1 - discount \/ 100\)/u,
      'the winner is the fix that passes its tests',
    );
    assert.match(told.stdout, /└─ .*pytest/u, 'the tree shows the branches');
    const [, sandbox = ''] = /^Sandbox of these runs: (\w+)\b/mu.exec(told.stdout) ?? [];
    const runs = await home.json<readonly { readonly uuid: string }[]>(['ops', '--kind', 'instance']);
    const shown = await Promise.all(runs.map(({ uuid }) => home.json<Shown>(['show', uuid])));
    assert.deepEqual([...new Set(shown.map(({ execution }) => execution.sandbox))], [sandbox]);
    const emulated = shown.some(({ execution }) => execution.accelerator === 'emulated');
    assert.equal(/^Sandbox of .*; to make runs faster, /mu.test(told.stdout), emulated, told.stdout);
    for (const line of ['claude mcp add', 'codex mcp add', 'mcpServers']) assert.ok(told.stdout.includes(line), line);
  },
);
