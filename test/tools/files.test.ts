import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connectMcp } from '../support/mcp/client.ts';
import { ScriptedContree } from '../support/scripted/contree.ts';

test('list_files pages, counts all, and shows names on one harmless line each', async () => {
  const contree = new ScriptedContree();
  const files = Object.fromEntries(
    Array.from({ length: 450 }, (_, index) => [`/d/f${String(index).padStart(3, '0')}`, 'x']),
  );
  const image = contree.addImage({ ...files, '/odd/new\nline\x1b[2J\u202e': '', '/odd/plain': 'abc' });
  await using mcp = await connectMcp(contree);
  const first = (await mcp.call('list_files', { image, path: '/d' })).structured;
  assert.deepEqual([first.files.length, first.count, first.next_offset], [200, 450, 200]);
  const last = (await mcp.call('list_files', { image, path: '/d', offset: 400 })).structured;
  assert.deepEqual([last.files.length, last.next_offset], [50, undefined]);
  assert.deepEqual(last.files[0], { name: 'f400', size: 1 }, 'nothing that is usual, nor what was asked for');
  const odd = await mcp.call('list_files', { image, path: '/odd' });
  assert.equal(odd.text.split('\n').length, 3);
  assert.match(odd.text, /new\\u\{a\}line\\u\{1b\}\[2J\\u\{202e\}/u);
  assert.equal(odd.structured.files[0].name, 'new\nline\x1b[2J\u202e', 'the structured name is the real one');
  const root = (await mcp.call('list_files', { image })).structured;
  assert.deepEqual(
    root.files.map(({ name, type }: { name: string; type: string }) => `${name} ${type}`),
    ['d directory', 'odd directory'],
  );
});

test('read_file pages by bytes without cutting a character, and by lines', async () => {
  const contree = new ScriptedContree();
  const text = Array.from({ length: 3_000 }, (_, line) => `zeile ${line + 1} äöü\n`).join('');
  const image = contree.addImage({ '/f': text, '/odd': `a${'é'.repeat(40_000)}` });
  await using mcp = await connectMcp(contree);
  const read = async (
    path: string,
    args: object = {},
  ): Promise<{
    content: string;
    next_offset?: number;
    next_line?: number;
    size: number;
    offset: number;
  }> => (await mcp.call('read_file', { image, path, ...args })).structured;
  let all = '';
  for (let offset: number | undefined = 0; offset !== undefined;) {
    const part = await read('/odd', { offset });
    assert.doesNotMatch(part.content, /\uFFFD/u);
    all += part.content;
    offset = part.next_offset;
  }
  assert.equal(all, `a${'é'.repeat(40_000)}`);
  assert.match(
    (await mcp.call('read_file', { image, path: '/f', offset: 1_000_000 })).text,
    /, none from 1,000,000 on/u,
  );
  const lines = await read('/f', { start_line: 2_999 });
  assert.deepEqual([lines.content, lines.next_offset], ['zeile 2999 äöü\nzeile 3000 äöü\n', undefined]);
  const few = await read('/f', { start_line: 10, max_lines: 2 });
  assert.deepEqual([few.content, few.next_line], ['zeile 10 äöü\nzeile 11 äöü\n', 12]);
  assert.equal(
    (await read('/f', { offset: few.next_offset, limit: 12 })).content,
    'zeile 12 ä',
    'the offset goes on where lines ended',
  );
  assert.equal((await read('/f', { start_line: 9_999 })).content, '');
});

test('read_file gives a little of a binary file and the way to the whole', async () => {
  const contree = new ScriptedContree();
  const image = contree.addImage({ '/b': '\0'.repeat(10_000) });
  await using mcp = await connectMcp(contree);
  const { structured } = await mcp.call('read_file', { image, path: '/b' });
  assert.equal(structured.encoding, 'base64');
  assert.equal(structured.next_offset, 2_048);
  assert.match(structured.hint, /^download\(/u);
});

test('upload takes text or base64 once, says what it kept, and refuses everything else', async () => {
  const contree = new ScriptedContree();
  await using mcp = await connectMcp(contree);
  const first = (await mcp.call('upload', { content: 'hello' })).structured;
  assert.deepEqual([first.size, first.reused], [5, undefined]);
  const again = (await mcp.call('upload', { content_base64: 'aGVs\nbG8=' })).structured;
  assert.deepEqual([again.uuid, again.reused], [first.uuid, true]);
  assert.equal((await mcp.call('upload', { content: '' })).structured.size, 0);
  for (const wrong of [{}, { content: 'a', content_base64: 'YQ==' }, { content_base64: 'not base64!' }]) {
    assert.match((await mcp.call('upload', wrong)).text, /^ARGUMENT_INVALID/u);
  }
  assert.match(
    (await mcp.call('upload', { path: '/etc/passwd' })).text,
    /^PATH_OUTSIDE_ROOT/u,
    'no folder is allowed here',
  );
});

test('grep shows one match a line, bounded, and says when there is more', async () => {
  const contree = new ScriptedContree();
  const image = contree.addImage({ '/a': `x\tneedle\n${'needle '.repeat(500)}\n`, '/b': 'nothing' });
  await using mcp = await connectMcp(contree);
  const { structured, text } = await mcp.call('grep', { image, pattern: 'needle' });
  assert.deepEqual(structured.matches[0], { path: '/a', line: 1, text: 'x\tneedle' });
  assert.equal(structured.matches[1].text.length, 501);
  assert.equal(text.split('\n')[1], '/a:1:x\tneedle');
});
