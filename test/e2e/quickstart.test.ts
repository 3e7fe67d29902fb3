import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { cliHome, execute, ROOT } from '../support/home.ts';

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
    const ended = [...told.stdout.matchAll(/^ {4}SUCCESS · .* · (microvm|gvisor) · (kvm|emulated|none) · /gmu)];
    assert.ok(ended.length > 0 && ended.every(([, each]) => each === sandbox), told.stdout);
    const emulated = ended.some(([, , accelerator]) => accelerator === 'emulated');
    assert.equal(/^Sandbox of .*; to make runs faster, /mu.test(told.stdout), emulated);
    for (const line of ['claude mcp add', 'codex mcp add', 'mcpServers']) assert.ok(told.stdout.includes(line), line);
  },
);
