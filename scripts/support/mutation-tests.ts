import { globSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { test } from 'node:test';

/**
 * Loads the test files that CONTREE_MUTATION_TESTS names (patterns, divided by spaces) into this process: one start for
 * each mutant instead of one for each file. A mutant that keeps a file from loading is noticed by that.
 */
for (const file of globSync((process.env['CONTREE_MUTATION_TESTS'] ?? '').split(' ')).toSorted()) {
  try {
    await import(pathToFileURL(file).href);
  } catch (error) {
    test(`${file} loads`, () => {
      throw error;
    });
  }
}
