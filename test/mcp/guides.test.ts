import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GUIDE_SECTIONS, GUIDES, TOOLS } from '../../src/tools/index.ts';
import type { LocalFiles } from '../../src/transfer/local-files.ts';
import { connectMcp } from '../support/mcp/client.ts';
import { ScriptedContree } from '../support/scripted/contree.ts';
import type { Program } from '../support/scripted/process.ts';

/** Local files that always work: their handling is tested elsewhere. */
const LOCAL: LocalFiles = {
  sync: async () => ({
    directoryState: 'state-1',
    files: 1,
    uploaded: 1,
    reused: 0,
    bytes: 1,
    skipped: [],
    leftOut: undefined,
    removed: 0,
  }),
  upload: async () => ({ uuid: 'file-1', sha256: '0', size: 1, reused: false }),
  download: async (_contree, { destination }) => ({ destination, size: 1, sha256: '0', overwritten: false }),
};

const CALL = /^([a-z_]+)\((.*)\)$/u;

/** Parses the arguments of a call as guides write them: `name=JSON, …`, with Python's literals. */
function argumentsOf(text: string): Record<string, unknown> {
  const names = [...text.matchAll(/(?:^|, )([a-z_]+)=/gu)].filter(({ index }) => !insideString(text, index));
  return Object.fromEntries(
    names.map((match, at) => {
      const from = match.index + match[0].length;
      return [match[1] ?? '', JSON.parse(text.slice(from, names[at + 1]?.index ?? text.length)) as unknown];
    }),
  );
}

function insideString(text: string, index: number): boolean {
  const quotes = text.slice(0, index).match(/(?<!\\)"/gu)?.length ?? 0;
  return quotes % 2 === 1;
}

/** `$image_uuid` in a guide is the field of that name in the last answer that had it. */
function fill(value: unknown, answers: ReadonlyMap<string, string>): unknown {
  if (typeof value === 'string')
    return value.replaceAll(/\$([a-z_]+)/gu, (_, name: string) => answers.get(name) ?? `$${name}`);
  if (Array.isArray(value)) return value.map((item) => fill(item, answers));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, fill(item, answers)]));
}

for (const section of GUIDE_SECTIONS) {
  test(`every call in the guide "${section}" works as it is written`, async () => {
    const contree = new ScriptedContree();
    const files = {
      '/etc/os-release': 'VERSION=1',
      '/usr/local/lib/x': '',
      '/out.txt': 'done',
      '/work/report.html': '',
    };
    const touch: Program = ({ write }) => {
      for (const [path, content] of Object.entries(files)) write(path, content);
      return 0;
    };
    for (const program of ['pip', 'python', 'apt-get', 'make', 'pytest', 'printenv', '/usr/bin/wc', 'cargo', 'curl'])
      contree.programs[program] = touch;
    const base = contree.addImage(files, 'common/base');
    for (const tag of [
      'common/python-ml/python:3.11-slim',
      'common/pytest/python:3.11-slim',
      'common/python/python:3.11-slim',
    ]) {
      contree.addImage(files, tag);
    }
    await using mcp = await connectMcp(contree, 'modern', { localFiles: LOCAL });
    const { structured: earlier } = await mcp.call('run', { command: 'true', image: base, wait: false });
    const answers = new Map<string, string>([
      ['image_uuid', base],
      ['operation_id', earlier.operation_id],
    ]);
    for (const line of callsIn(GUIDES[section].text)) {
      const [, name = '', text = ''] = CALL.exec(line) ?? [];
      assert.ok(
        TOOLS.some((tool) => tool.name === name),
        line,
      );
      const given = fill(argumentsOf(text), answers) as Record<string, unknown>;
      const answer = await mcp.call(name, given);
      assert.equal(answer.isError, false, `${line}\n${answer.text}`);
      assert.doesNotMatch(answer.text, /ignored argument/u, line);
      for (const [field, value] of Object.entries(answer.structured as Record<string, unknown>)) {
        if (typeof value === 'string') answers.set(field, value);
      }
    }
  });
}

function callsIn(guide: string): string[] {
  return [...guide.matchAll(/^```\n(.*?)^```$/gmsu)].flatMap(([, block = '']) => block.trim().split('\n'));
}

test('guides are as long as they should be and name no tool that does not exist', () => {
  for (const section of GUIDE_SECTIONS) {
    const { text } = GUIDES[section];
    assert.ok(text.length > 1_200 && text.length < 3_800, `${section}: ${text.length}`);
    for (const [, name = ''] of text.matchAll(/\b([a-z]+(?:_[a-z]+)+)\(/gu)) {
      assert.ok(
        TOOLS.some((tool) => tool.name === name),
        `${section}: ${name}`,
      );
    }
  }
});
