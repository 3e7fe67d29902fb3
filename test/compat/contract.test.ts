import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { operations, ours } from '../support/openapi.ts';
import { documentDifferences } from './hosted/compare.ts';
import { hostedDocument } from './hosted/document.ts';
import { openHere } from './hosted/here.ts';
import { IMAGE_STATEMENTS } from './hosted/images.ts';
import { INSPECT_STATEMENTS } from './hosted/inspect.ts';
import { listedDifferences } from './hosted/listed.ts';
import { PROCESS_STATEMENTS } from './hosted/processes.ts';
import { RUN_STATEMENTS } from './hosted/runs.ts';
import { serverStatements } from './hosted/server.ts';

/**
 * The contract of the hosted service, as its own OpenAPI document states it: the wheel of its client contains the document,
 * and pip fetches it now. Every statement that can be tried is tried with the real engine. COMPATIBILITY.md lists where
 * we differ, with the reason; a difference that is not listed fails, and so does a listed one that is none.
 */
const hosted = await hostedDocument();
const here = await openHere(hosted);
after(() => here[Symbol.asyncDispose]());
const listed = listedDifferences();
/** Differences that were found. */
const found = new Set<string>();

const statements = [
  ...IMAGE_STATEMENTS,
  ...RUN_STATEMENTS,
  ...PROCESS_STATEMENTS,
  ...INSPECT_STATEMENTS,
  ...serverStatements(hosted),
];

for (const [name, says, check] of statements) {
  test(`${name}: ${says}`, async () => {
    if (!listed.has(name)) return check(here);
    await assert.rejects(check(here), 'COMPATIBILITY.md lists a difference that is none');
    found.add(name);
  });
}

test('the documents differ only where COMPATIBILITY.md says so', () => {
  const differences = documentDifferences(hosted, ours);
  for (const name of differences) found.add(name);
  assert.deepEqual(
    differences.filter((name) => !listed.has(name)),
    [],
  );
});

test('all answers had the status, type and shape that the hosted document gives them', () => {
  for (const name of here.answers.differences) found.add(name);
  assert.deepEqual(
    [...here.answers.differences].filter((name) => !listed.has(name)),
    [],
  );
});

test('every status that both documents know was answered', () => {
  const both = operations(hosted).flatMap(({ path, method, operation }) => {
    const where = `${method.toUpperCase()} ${path}`;
    return Object.keys(operation.responses).map((status) => `${where} ${status}`);
  });
  assert.deepEqual(
    both.filter((name) => !here.answers.seen.has(name) && !listed.has(name)),
    [],
  );
});

test('every difference that COMPATIBILITY.md lists exists', () => {
  const gone = [...listed].filter(([name, reason]) => !found.has(name) || reason.length < 20);
  assert.deepEqual(gone, []);
});
