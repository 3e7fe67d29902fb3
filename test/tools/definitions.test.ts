import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { z } from 'zod';
import { annotationsOf, chooseTools, jsonSchemaOf, TOOLS, unknownTools } from '../../src/tools/index.ts';
import { goldenTools, TOOLS_FOLDER } from '../support/golden.ts';

/** Context size of the tool list for clients. */
const LIST_BYTES_MAX = 16 * 1024;

test('what models see changes only on purpose: run "npm run bless" and read the difference', () => {
  const wanted = goldenTools();
  assert.deepEqual(readdirSync(TOOLS_FOLDER).toSorted(), [...wanted.keys()].toSorted());
  for (const [name, text] of wanted) assert.equal(readFileSync(join(TOOLS_FOLDER, name), 'utf8'), text, name);
});

test('the whole list of tools stays small', () => {
  const tools = [...goldenTools().values()].map((text) => JSON.parse(text) as unknown);
  const bytes = Buffer.byteLength(JSON.stringify({ tools }));
  assert.ok(bytes <= LIST_BYTES_MAX, `${bytes} bytes`);
});

test('every tool says its cost, in a description that clients do not cut', () => {
  for (const { name, description, cost } of TOOLS) {
    assert.ok(description.length < 1_000, name);
    assert.match(description, cost === 'free' ? /^Free\b/u : /^Costs (?:a|as much as a) VM/u, name);
  }
  assert.deepEqual(
    TOOLS.filter(({ cost }) => cost === 'vm').map(({ name }) => name),
    ['import_image', 'build_image', 'run', 'open_instance'],
  );
});

test('schemas hold nothing that some client cannot read', () => {
  for (const tool of TOOLS) {
    for (const io of ['input', 'output'] as const) {
      const text = JSON.stringify(jsonSchemaOf(tool[io], io));
      for (const bad of ['$ref', '$schema', '"null"', '9007199254740991', 'hidden']) {
        assert.ok(!text.includes(bad), `${tool.name} ${io}: ${bad}`);
      }
    }
  }
});

test('annotations follow from the effect', () => {
  const hints = (name: string): string => {
    const tool = TOOLS.find((candidate) => candidate.name === name);
    assert.ok(tool);
    const { readOnlyHint, destructiveHint, idempotentHint, openWorldHint } = annotationsOf(tool);
    return [readOnlyHint, destructiveHint, idempotentHint, openWorldHint].map(Number).join('');
  };
  // Read-only, destructive, idempotent and open-world hints of each tool.
  const expected = {
    list_images: '1010',
    get_image: '1010',
    import_image: '0001',
    build_image: '0001',
    registry_token_obtain: '0011',
    registry_auth: '0011',
    set_tag: '0110',
    run: '0001',
    open_instance: '0001',
    snapshot: '0000',
    close_instance: '0110',
    rsync: '0010',
    upload: '0010',
    download: '0110',
    get_operation: '1010',
    list_operations: '1010',
    wait_operations: '1010',
    cancel_operation: '0110',
    list_files: '1010',
    read_file: '1010',
    get_guide: '1010',
    grep: '1010',
    diff: '1010',
    whoami: '1010',
  };
  for (const [name, columns] of Object.entries(expected)) assert.equal(hints(name), columns, name);
});

test('every output schema accepts unknown fields and names itself an object', () => {
  for (const tool of TOOLS) {
    const schema = jsonSchemaOf(tool.output, 'output');
    assert.equal(schema['type'], 'object', tool.name);
    assert.equal('additionalProperties' in schema, false, tool.name);
    assert.ok(tool.output instanceof z.ZodObject);
  }
});

test('chooseTools drops what a mode forbids, and unknown names are told', () => {
  const names = (choice: Parameters<typeof chooseTools>[0]): string[] => chooseTools(choice).map(({ name }) => name);
  assert.equal(names({ localFiles: true }).length, 24);
  assert.deepEqual(
    names({ localFiles: true }).filter((name) => !names({ localFiles: false }).includes(name)),
    ['rsync', 'download'],
  );
  assert.ok(names({ localFiles: true, readOnly: true }).every((name) => !['run', 'set_tag', 'upload'].includes(name)));
  assert.deepEqual(unknownTools(['run', 'rnu']), ['rnu']);
});
