import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';

for (const crate of ['agent', 'host-helper'])
  test(`the crate ${crate} passes its own tests`, () => {
    const cwd = join(import.meta.dirname, '../../guest', crate);
    const { status, stdout, stderr, error } = spawnSync('cargo', ['test', '--offline', '--locked', '--quiet'], {
      cwd,
      encoding: 'utf8',
    });
    assert.equal(error, undefined, 'cargo is needed; scripts/setup installs it');
    assert.equal(status, 0, `${stdout}${stderr}`);
    assert.match(stdout, /test result: ok\. [1-9]/u, 'the tests were found');
  });
