import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { buildSteps } from '../../src/tools/images/build-steps.ts';
import { once, openEngine } from '../engine/bench.ts';
import { connectMcp } from '../support/mcp/client.ts';

const bench = await openEngine();
const mcp = await connectMcp(bench.engine);
bench.store.tags.set('base', bench.base.uuid);
after(async () => {
  await mcp[Symbol.asyncDispose]();
  await bench[Symbol.asyncDispose]();
});

interface Step {
  readonly instruction: string;
  readonly image_uuid: string;
  readonly cached?: true;
}

async function contextOf(files: Readonly<Record<string, string>>): Promise<string> {
  const { engine } = bench;
  const entries = Object.entries(files).map(async ([path, text]) => {
    const { sha256 } = await engine.uploads.create(once(text));
    return { path: `/${path}`, sha256, mode: 0o644 };
  });
  const { state } = await engine.uploads.offerDirectory({ entries: await Promise.all(entries) });
  return state?.id ?? '';
}

test('a text is built: the result names the image, its tag and the image of each step', async () => {
  const dockerfile = 'FROM base AS one\nRUN touch /a\nFROM one\nENV A=1\nRUN touch /b';
  const { structured, text, isError } = await mcp.call('build_image', { dockerfile, tag: 'tag:app', build_args: {} });
  assert.equal(isError, false, text);
  const { image, ancestors } = bench.store.images.lineage(structured.image_uuid);
  assert.deepEqual(image.tags, ['app']);
  assert.deepEqual([structured.status, structured.tag], ['SUCCESS', 'app']);
  const steps: Step[] = structured.steps;
  const made = steps.filter(({ instruction }) => !instruction.startsWith('FROM'));
  assert.deepEqual(
    made.map(({ instruction, image_uuid }) => [instruction, image_uuid]),
    [image, ...ancestors.slice(0, 2)].toReversed().map(({ command, uuid }) => [command, uuid]),
  );
  assert.equal(steps.find(({ instruction }) => instruction.startsWith('FROM base'))?.image_uuid, bench.base.uuid);
  assert.ok(steps.every(({ cached }) => cached === undefined));
  const again = await mcp.call('build_image', { dockerfile });
  assert.equal(again.structured.image_uuid, image.uuid);
  assert.equal(again.structured.steps.filter(({ cached }: Step) => cached).length, 3);
  assert.match(again.text, new RegExp(`^${image.uuid} reused RUN touch /b$`, 'mu'));
});

test('a context is a directory state; its Dockerfile is found, or named by its path', async () => {
  const directory_state_id = await contextOf({
    Dockerfile: 'FROM base\nCOPY f /of-default',
    'deploy/Dockerfile': 'FROM base\nCOPY f /of-path',
    f: 'x',
  });
  const named = async (args: object): Promise<string[]> => {
    const { structured, text } = await mcp.call('build_image', { directory_state_id, ...args });
    assert.ok(structured, text);
    const { files } = await bench.engine.files.list(structured.image_uuid, { path: '/' });
    return files.map(({ path }) => path).filter((path) => path.includes('of-'));
  };
  assert.deepEqual(await named({}), ['of-default']);
  assert.deepEqual(await named({ dockerfile: 'deploy/Dockerfile' }), ['of-path']);
});

test('a failed step is told with its line and output, and the image before it can be opened', async () => {
  const dockerfile = 'FROM base\nRUN touch /a\n\nRUN echo told-why && exit 7';
  const { text, isError } = await mcp.call('build_image', { dockerfile });
  assert.equal(isError, true);
  assert.match(text, /^BUILD_FAILED: build \S+ failed: line 4 of the Dockerfile: RUN echo told-why/u);
  assert.match(text, /exit code 7/u);
  assert.match(text, /^told-why$/mu);
  const [, image = ''] = /^open_instance\(image="(.+?)"\)/mu.exec(text) ?? [];
  assert.equal(bench.store.images.lineage(image).image.command, 'RUN touch /a');
  const invalid = await mcp.call('build_image', { dockerfile: 'FROM base\nFOO x' });
  assert.match(invalid.text, /^DOCKERFILE_INVALID: build \S+ failed: line 2 of the Dockerfile/u);
  const nothing = await mcp.call('build_image', { dockerfile: 'missing' });
  assert.match(nothing.text, /^BUILD_FILE_NOT_FOUND: /u);
});

test('a build that is not waited for is an operation like others', async () => {
  const { structured } = await mcp.call('build_image', { dockerfile: 'FROM base\nRUN touch /waited', wait: false });
  const { operation_id: id } = structured;
  const waited = await mcp.call('wait_operations', { operation_ids: [id] });
  assert.equal(waited.structured.results[id].status, 'SUCCESS');
});

test('steps are read from the lines of a build, and what a Dockerfile says cannot forge them', () => {
  const [a, b] = ['11111111-1111-1111-1111-111111111111', '22222222-2222-2222-2222-222222222222'];
  const lines = [
    `#1 [web FROM] base → ${a}`,
    `#2 [web 1/2] RUN echo "#1 FAILED" → ${b}`,
    'line 3: name: 10 %',
    `#2 DONE 0.1s → ${b}`,
    '#3 [web 2/2] RUN false',
    '#9 FAILED',
    '#3 FAILED',
  ];
  const row = { stage: 'web' };
  assert.deepEqual(buildSteps(lines), [
    { ...row, number: 1, text: 'base', state: 'done', image: a },
    { ...row, number: 2, text: `RUN echo "#1 FAILED" → ${b}`, state: 'done', image: b },
    { ...row, number: 3, text: 'RUN false', state: 'failed', image: b },
  ]);
  assert.equal(buildSteps(lines.slice(0, 2))[1]?.image, a, 'a step that runs has the image before it');
});
