import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GUIDE_SECTIONS } from '../../src/tools/index.ts';
import { connectMcp, ERAS, type TestConnection } from '../support/mcp/client.ts';
import { ScriptedContree } from '../support/scripted/contree.ts';

async function read(
  { client }: TestConnection,
  uri: string,
): Promise<{ text?: string; blob?: string; mimeType?: string }> {
  const { contents } = await client.readResource({ uri });
  return contents[0] as { text?: string; blob?: string; mimeType?: string };
}

for (const era of ERAS) {
  test(`${era}: listing resources needs no engine and shows the guides`, async () => {
    await using mcp = await connectMcp(() => Promise.reject(new Error('no engine')), era);
    const { resources } = await mcp.client.listResources();
    assert.deepEqual(
      resources.map(({ uri }) => uri),
      GUIDE_SECTIONS.map((section) => `contree://guide/${section}`),
    );
    const guide = await read(mcp, 'contree://guide/workflow');
    assert.match(guide.text ?? '', /^# Workflow/mu);
    assert.equal(guide.mimeType, 'text/markdown');
    const { resourceTemplates } = await mcp.client.listResourceTemplates();
    assert.deepEqual(
      resourceTemplates.map(({ uriTemplate }) => uriTemplate),
      [
        'contree://image/{image}',
        'contree://image/{image}/lineage',
        'contree://image/{image}/diff/{other}',
        'contree://image/{image}/ls',
        'contree://image/{image}/ls/{+path}',
        'contree://image/{image}/read/{+path}',
        'contree://operations/instance/{operation_id}/{stream}',
        'contree://operations/instance/{operation_id}',
        'contree://operations/import/{operation_id}',
      ],
    );
  });

  test(`${era}: an image is addressed by UUID and by percent-encoded tag, its root without a dot`, async () => {
    const contree = new ScriptedContree();
    const image = contree.addImage({ '/etc/os-release': 'ID=debian\n', '/a b/ü': 'x' }, 'common/python:3.11-slim');
    await using mcp = await connectMcp(contree, era);
    const tagged = 'contree://image/tag%3Acommon%2Fpython%3A3.11-slim';
    assert.equal(JSON.parse((await read(mcp, tagged)).text ?? '').uuid, image);
    for (const base of [tagged, `contree://image/${image}`]) {
      const root = JSON.parse((await read(mcp, `${base}/ls`)).text ?? '') as { files: { path: string }[] };
      assert.deepEqual(
        root.files.map(({ path }) => path),
        ['a b', 'etc'],
      );
      assert.equal((await read(mcp, `${base}/read/etc/os-release`)).text, 'ID=debian\n');
      assert.equal((await read(mcp, `${base}/read/a%20b/%C3%BC`)).text, 'x');
      assert.equal(JSON.parse((await read(mcp, `${base}/lineage`)).text ?? '').root, image);
    }
  });

  test(`${era}: bytes that are not text come as a blob, large files are refused with the way to get them`, async () => {
    const contree = new ScriptedContree();
    const image = contree.addImage({ '/bin': 'a\0b', '/big': 'x'.repeat(1024 * 1024 + 1), '/ok.json': '{}' });
    await using mcp = await connectMcp(contree, era);
    const blob = await read(mcp, `contree://image/${image}/read/bin`);
    assert.equal(Buffer.from(blob.blob ?? '', 'base64').toString(), 'a\0b');
    assert.equal(blob.mimeType, 'application/octet-stream');
    assert.equal((await read(mcp, `contree://image/${image}/read/ok.json`)).mimeType, 'application/json');
    await assert.rejects(read(mcp, `contree://image/${image}/read/big`), /too many for a resource\.\nCall download\(/u);
  });

  test(`${era}: what is missing is a resource-not-found error`, async () => {
    const contree = new ScriptedContree();
    const image = contree.addImage({ '/f': '' });
    await using mcp = await connectMcp(contree, era);
    for (const uri of [
      `contree://image/${image}/read/nope`,
      'contree://image/tag%3Anone',
      'contree://guide/none',
      'contree://operations/instance/none',
    ]) {
      await assert.rejects(read(mcp, uri), { code: -32602 }, uri);
    }
    await assert.rejects(read(mcp, `contree://image/${image}/read/nope`), /FILE_NOT_FOUND/u);
  });

  test(`${era}: a run and its output are resources`, async () => {
    const contree = new ScriptedContree();
    const image = contree.addImage();
    await using mcp = await connectMcp(contree, era);
    const { structured } = await mcp.call('run', { command: 'echo hello', image });
    const uri = `contree://operations/instance/${structured.operation_id}`;
    const operation = JSON.parse((await read(mcp, uri)).text ?? '') as { stdout: string };
    assert.equal(operation.stdout, 'hello\n');
    assert.equal((await read(mcp, `${uri}/stdout`)).text, 'hello\n');
    await assert.rejects(read(mcp, `${uri}/stdlog`), { code: -32602 });
  });

  test(`${era}: what changed between two images is a resource`, async () => {
    const contree = new ScriptedContree();
    const image = contree.addImage({ '/a': '' }, 'common/base');
    await using mcp = await connectMcp(contree, era);
    const touch = { command: 'touch /b', image, disposable: false };
    contree.programs['touch'] = ({ args, write }) => (write(args[0] ?? '', ''), 0);
    const { image_uuid: other } = (await mcp.call('run', touch)).structured;
    for (const from of [image, 'tag%3Acommon%2Fbase']) {
      const { entries } = JSON.parse((await read(mcp, `contree://image/${from}/diff/${other}`)).text ?? '') as {
        entries: { path: string; change: string }[];
      };
      assert.deepEqual(
        entries.map(({ path, change }) => [path, change]),
        [['/b', 'added']],
      );
    }
    await assert.rejects(read(mcp, `contree://image/${image}/diff/none`), { code: -32602 });
  });

  test(`${era}: prompts keep their names and arguments and fill in what is not given`, async () => {
    const options = { localFiles: {} as never };
    await using mcp = await connectMcp(() => Promise.reject(new Error('no engine')), era, options);
    const { prompts } = await mcp.client.listPrompts();
    assert.deepEqual(
      prompts.map(
        ({ name, arguments: given = [] }) =>
          `${name}(${given.map((one) => one.name + (one.required ? '' : '?')).join(', ')})`,
      ),
      [
        'prepare-environment(task, base?, project?, packages?)',
        'run-python(code)',
        'run-shell(command, image?)',
        'sync-and-run(source, command, image?)',
        'install-packages(packages, image)',
        'parallel-tasks(tasks, image)',
        'compare(commands, image, goal?)',
        'build-project(source, install_cmd?, test_cmd?)',
        'debug-failure(operation_id)',
        'inspect-image(image)',
        'multi-stage-build(source, install_cmd, build_cmd?, test_cmd?)',
      ],
    );
    for (const { name, title, description, arguments: given = [] } of prompts) {
      assert.ok(title && description && given.every((one) => one.description), name);
      const values = Object.fromEntries(given.filter((one) => one.required).map((one) => [one.name, `<${one.name}>`]));
      const { messages } = await mcp.client.getPrompt({ name, arguments: values });
      const text = messages[0]?.content.type === 'text' ? messages[0].content.text : '';
      for (const value of Object.values(values)) assert.ok(text.includes(value), `${name} ${value}`);
      assert.doesNotMatch(text, /undefined/u, name);
    }
    await assert.rejects(mcp.client.getPrompt({ name: 'run-python', arguments: {} }), { code: -32602 });
  });

  test(`${era}: completion suggests images, operations and paths, and nothing when it cannot`, async () => {
    const contree = new ScriptedContree();
    const image = contree.addImage({ '/etc/hosts': '', '/etc/host.conf': '', '/usr/x': '' }, 'common/base');
    await using mcp = await connectMcp(contree, era);
    const complete = async (
      uri: string,
      name: string,
      value: string,
      given?: Record<string, string>,
    ): Promise<string[]> => {
      const { completion } = await mcp.client.complete({
        ref: { type: 'ref/resource', uri },
        argument: { name, value },
        ...(given && { context: { arguments: given } }),
      });
      return completion.values;
    };
    assert.deepEqual(await complete('contree://image/{image}', 'image', 'comm'), ['tag:common/base']);
    assert.deepEqual(await complete('contree://image/{image}', 'image', ''), ['tag:common/base', image]);
    const read = 'contree://image/{image}/read/{+path}';
    assert.deepEqual(await complete(read, 'path', '', { image }), ['etc/', 'usr/']);
    assert.deepEqual(await complete(read, 'path', 'etc/hosts', { image: 'tag%3Acommon%2Fbase' }), ['etc/hosts']);
    assert.deepEqual(await complete(read, 'path', 'nope/', { image }), []);
    const { structured } = await mcp.call('run', { command: 'true', image });
    const operations = await mcp.client.complete({
      ref: { type: 'ref/prompt', name: 'debug-failure' },
      argument: { name: 'operation_id', value: structured.operation_id.slice(0, 4) },
    });
    assert.deepEqual(operations.completion.values, [structured.operation_id]);
    assert.deepEqual(await complete('contree://operations/instance/{operation_id}/{stream}', 'stream', 'std'), [
      'stdout',
      'stderr',
    ]);
  });
}

test('a bug shows an incident id, and the whole error to the log only', async () => {
  const contree = new ScriptedContree();
  contree.operations.get = () => Promise.reject(new TypeError('secret detail at /home/user'));
  await using mcp = await connectMcp(contree);
  const reading = mcp.client.readResource({ uri: 'contree://operations/instance/x' });
  await assert.rejects(reading, (error: Error) => {
    assert.match(error.message, /INTERNAL: internal error \(incident [0-9a-f]{8}\)/u);
    return !error.message.includes('secret');
  });
  assert.match(mcp.logged.join('\n'), /secret detail/u);
});

test('modern: what never changes may be cached, what changes may not', async () => {
  const contree = new ScriptedContree();
  const image = contree.addImage({ '/f': 'x' }, 'common/base');
  await using mcp = await connectMcp(contree, 'modern');
  const hints = async (uri: string): Promise<unknown[]> => {
    const result = (await mcp.client.readResource({ uri })) as { ttlMs?: number; cacheScope?: string };
    return [result.ttlMs, result.cacheScope];
  };
  assert.deepEqual(await hints(`contree://image/${image}/read/f`), [86_400_000, 'private']);
  assert.deepEqual(await hints('contree://image/tag%3Acommon%2Fbase/read/f'), [0, 'private']);
  assert.deepEqual(await hints('contree://guide/state'), [86_400_000, 'public']);
});
