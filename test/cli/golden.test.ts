import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { goldenSurfaces, SURFACES_FOLDER } from '../support/golden-surfaces.ts';

test('the API and the command line change only on purpose: run "npm run bless" and read the difference', async () => {
  const wanted = await goldenSurfaces();
  assert.deepEqual(readdirSync(SURFACES_FOLDER).toSorted(), [...wanted.keys()].toSorted());
  for (const [name, text] of wanted) assert.equal(readFileSync(join(SURFACES_FOLDER, name), 'utf8'), text, name);
});
