import { globSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { test } from 'node:test';

/**
 * Loads the test files that CONTREE_MUTATION_TESTS names (patterns, separated by spaces) into this process, so that
 * each mutant costs one start, not one per file. A mutant that prevents a file from loading fails a test.
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
