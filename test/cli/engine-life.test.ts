import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { pathToFileURL } from 'node:url';
import { join } from 'node:path';
import { test } from 'node:test';

const SRC = join(import.meta.dirname, '../../src/http');

test('an error that nothing catches ends the engine, and its log says which', async () => {
  const program = `
    import { runEngineProcess } from ${JSON.stringify(pathToFileURL(join(SRC, 'engine-life.ts')).href)};
    import { openLog } from ${JSON.stringify(pathToFileURL(join(SRC, 'log.ts')).href)};
    await runEngineProcess({
      log: openLog('error', 1),
      open: () => {
        setImmediate(() => { throw new Error('thrown by a library'); });
        return new Promise(() => setInterval(() => {}, 60_000));
      },
    });`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const [log, [code]] = await Promise.all([text(child.stdout), once(child, 'exit')]);
  assert.notEqual(code, 0);
  const { msg, cause, incident } = JSON.parse(log.trim()) as Record<string, string>;
  assert.match(msg ?? '', /engine ends/u);
  assert.match(cause ?? '', /thrown by a library\n\s+at /u);
  assert.match(incident ?? '', /^[0-9a-f-]{36}$/u);
});
