import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { command } from '../../scripts/support/command.ts';
import { GUEST_DIR } from '../support/microvm.ts';

test('the runsc that setup left in guest/dist runs, and is the one that the record names', async () => {
  const record = join(GUEST_DIR, 'runsc.json');
  assert.equal(existsSync(join(GUEST_DIR, 'runsc')), existsSync(record), 'both are there or neither is');
  if (!existsSync(record)) return;
  const { version } = JSON.parse(await readFile(record, 'utf8')) as { version: string };
  assert.match(await command(join(GUEST_DIR, 'runsc'), ['--version']), new RegExp(`^runsc version ${version}$`, 'mu'));
});
