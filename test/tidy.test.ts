import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { limits } from '../src/contract/limits.ts';
import { MIGRATIONS } from '../src/store/schema.ts';
import { SPECIFIER } from './support/specifier.ts';

/** Folder of src/ → folders it may import. Read top to bottom: an import only ever points up the list. */
const LAYERS: Readonly<Record<string, readonly string[]>> = {
  std: [],
  contract: ['std'],
  config: ['std', 'contract'],
  dockerfile: ['contract'],
  erofs: ['std', 'contract'],
  tar: ['std', 'contract', 'erofs'],
  layers: ['std', 'contract', 'erofs', 'tar'],
  registry: ['std', 'contract', 'config'],
  store: ['std', 'contract', 'erofs'],
  images: ['std', 'contract', 'erofs', 'tar', 'layers', 'registry', 'store'],
  sandbox: ['std', 'contract', 'erofs'],
  'sandbox/network': ['std', 'contract', 'sandbox'],
  'sandbox/host': ['std', 'contract', 'sandbox'],
  'sandbox/microvm': ['std', 'contract', 'erofs', 'sandbox', 'sandbox/network', 'sandbox/host'],
  'sandbox/choice': ['contract', 'sandbox'],
  'sandbox/gvisor': ['std', 'contract', 'erofs', 'sandbox', 'sandbox/network', 'sandbox/host'],
  transfer: ['std', 'contract'],
  engine: ['std', 'contract', 'dockerfile', 'erofs', 'tar', 'layers', 'store', 'images', 'sandbox'],
  client: ['std', 'contract', 'config'],
  cluster: ['std', 'contract', 'store', 'engine', 'client'],
  tools: ['std', 'contract', 'transfer'],
  mcp: ['std', 'contract', 'transfer', 'tools'],
  http: ['std', 'contract'],
  cli: ['std', 'contract', 'config', 'dockerfile', 'tar', 'registry', 'transfer', 'client'],
  app: [
    'std',
    'contract',
    'config',
    'registry',
    'store',
    'images',
    'sandbox',
    'sandbox/microvm',
    'sandbox/gvisor',
    'sandbox/choice',
    'transfer',
    'engine',
    'client',
    'cluster',
    'tools',
    'mcp',
    'http',
    'cli',
  ],
};

/** npm package → folders of src/ that may import it. Every run-time dependency stands here. */
const PACKAGES: Readonly<Record<string, readonly string[]>> = {
  zod: [
    'contract',
    'registry',
    'store',
    'http',
    'tools',
    'mcp',
    'sandbox/host',
    'sandbox/microvm',
    'sandbox/gvisor',
    'client',
    'cluster',
    'engine',
    'images',
  ],
  '@modelcontextprotocol/server': ['mcp'],
  'unbzip2-stream': ['tar'],
  'xz-decompress': ['tar'],
  hono: ['http'],
  '@hono/node-server': ['http'],
  ignore: ['transfer'],
  re2js: ['images', 'dockerfile'],
  pino: ['http'],
  pg: ['cluster'],
  '@aws-sdk/client-s3': ['cluster'],
  commander: ['cli'],
  undici: ['registry'],
  yaml: ['http', 'cli'],
  'jsonc-parser': ['cli'],
  'smol-toml': ['cli'],
  'eventsource-parser': ['client'],
};

/** `src/sandbox/microvm/host/jail.ts` → `sandbox/microvm`; `src/cli/commands/run.ts` → `cli`. */
function layerOf(file: string): string {
  const [, first = '', second = ''] = file.split('/');
  return `${first}/${second}` in LAYERS ? `${first}/${second}` : first;
}

/** `@scope/name/file.js` → `@scope/name`; `node:fs` stays. */
function packageOf(specifier: string): string {
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
}

function violations(file: string, text: string): string[] {
  const layer = layerOf(file);
  const specifiers = [...text.matchAll(SPECIFIER)].map(([, specifier = '']) => specifier);
  const packages = specifiers.filter((name) => !name.startsWith('.') && !name.startsWith('node:'));
  const bad = packages.map(packageOf).filter((name) => !(PACKAGES[name] ?? []).includes(layer));
  const allowed = LAYERS[layer];
  if (allowed === undefined) return [`${file}: no rule for ${layer}`];
  const folders = specifiers
    .filter((name) => name.startsWith('.'))
    .map((name) => layerOf(join(dirname(file), name)))
    .filter((target) => target !== layer && !allowed.includes(target));
  return [...bad, ...folders].map((target) => `${file} imports ${target}`);
}

test('imports point only at the layers above, and packages only at their folders', () => {
  const files = globSync('src/**/*.ts');
  assert.ok(files.length > 5, 'the check found the sources');
  assert.deepEqual(
    files.flatMap((file) => violations(file, readFileSync(file, 'utf8'))),
    [],
  );
});

test('every permission of the two tables is used', () => {
  const used = new Set<string>();
  for (const file of globSync('src/**/*.ts')) {
    const layer = layerOf(file);
    for (const [, name = ''] of readFileSync(file, 'utf8').matchAll(SPECIFIER)) {
      used.add(`${layer} → ${name.startsWith('.') ? layerOf(join(dirname(file), name)) : packageOf(name)}`);
    }
  }
  const allowed = [
    ...Object.entries(LAYERS).flatMap(([layer, targets]) => targets.map((target) => `${layer} → ${target}`)),
    ...Object.entries(PACKAGES).flatMap(([name, layers]) => layers.map((layer) => `${layer} → ${name}`)),
  ];
  assert.deepEqual(
    allowed.filter((permission) => !used.has(permission)),
    [],
  );
});

/** Files reachable from each other by imports, of types included: one room that was cut at the wrong place. */
function cycles(files: readonly string[]): string[] {
  const imports = new Map(
    files.map((file) => {
      const names = [...readFileSync(file, 'utf8').matchAll(SPECIFIER)].map(([, name = '']) => name);
      return [file, names.filter((name) => name.startsWith('.')).map((name) => join(dirname(file), name))];
    }),
  );
  const found: string[] = [];
  const state = new Map<string, 'open' | 'done'>();
  const visit = (file: string, path: readonly string[]): void => {
    if (state.get(file) === 'open') found.push([...path.slice(path.indexOf(file)), file].join(' → '));
    if (state.has(file)) return;
    state.set(file, 'open');
    for (const target of imports.get(file) ?? []) visit(target, [...path, file]);
    state.set(file, 'done');
  };
  for (const file of files) visit(file, []);
  return found;
}

test('no two files import each other, not even for a type', () => {
  assert.deepEqual(cycles(globSync('src/**/*.ts')), []);
});

/** Declarations of names that other files may import. Re-exports declare nothing. */
const DECLARATION =
  /^export (?:(?:abstract|async|declare) )*(?:function\*?|class|interface|type|const|let) (?<name>\w+)(?<rest>[^\n]*)/gmu;

/** Tools and CLI commands are named after what users call, so the tool, the command and the function below share a word. */
const USER_FACING = /^(?:: Register = | = defineTool\()/u;

/** Names that several layers declare, with the layers. */
function sharedNames(files: readonly (readonly [file: string, text: string])[]): string[] {
  const layers = new Map<string, Set<string>>();
  for (const [file, text] of files) {
    for (const { groups } of text.matchAll(DECLARATION)) {
      const { name = '', rest = '' } = groups ?? {};
      if (USER_FACING.test(rest)) continue;
      layers.set(name, (layers.get(name) ?? new Set()).add(layerOf(file)));
    }
  }
  return [...layers].filter(([, of]) => of.size > 1).map(([name, of]) => `${name}: ${[...of].join(', ')}`);
}

test('no two layers export one name for different things', () => {
  const twice: (readonly [string, string])[] = [
    ['src/std/a.ts', 'export interface Answer {'],
    ['src/tar/a.ts', 'export async function* Answer() {'],
    ['src/tar/b.ts', 'export class Answer {'],
    ['src/cli/commands/a.ts', 'export const Answer: Register = (program) => {'],
  ];
  assert.deepEqual(sharedNames(twice), ['Answer: std, tar'], 'the check sees declarations of every kind');
  assert.deepEqual(sharedNames(globSync('src/**/*.ts').map((file) => [file, readFileSync(file, 'utf8')])), []);
});

/** Most files a folder may hold. The aim is about 15; the rest leaves room for additions. */
const FILES_PER_FOLDER_MAX = 18;

/** Folders with one file per tool: lists, not rooms. */
const LISTS: readonly string[] = ['test/golden/tools'];

test('no folder holds more files than a reader can take in', () => {
  const tracked = execFileSync('git', ['ls-files', 'src', 'test', 'console', 'scripts', 'bench', 'guest'], {
    encoding: 'utf8',
  });
  const counts = Map.groupBy(tracked.trim().split('\n'), (file) => dirname(file));
  assert.deepEqual(
    [...counts].filter(([folder, files]) => files.length > FILES_PER_FOLDER_MAX && !LISTS.includes(folder)),
    [],
  );
});

/** Numbered sections of documents that are not part of the repository. */
const FOREIGN_SECTION = /\b(?:DESIGN|reference [\w-]+\.md|(?:api|mcp)\.md) §/u;

test('comments cite documents that the repository holds, or public ones', () => {
  const files = globSync(['src/**/*.ts', 'test/**/*.ts', 'bench/**/*.ts', 'scripts/**/*.ts', 'console/app/**/*.js']);
  const bad = files.flatMap((file) => {
    const text = readFileSync(file, 'utf8');
    const missing = [...text.matchAll(/\bdocs\/[\w/.-]+\.md\b/gu)]
      .map(([path]) => path)
      .filter((path) => !existsSync(path));
    const foreign = file.endsWith('tidy.test.ts') ? [] : [...(FOREIGN_SECTION.exec(text) ?? [])];
    return [...missing, ...foreign].map((citation) => `${file} cites ${citation}`);
  });
  assert.deepEqual(bad, []);
});

test('the check itself sees every form of import', () => {
  const forms = [
    "import '../mcp/a.ts'",
    "export { a } from '../mcp/a.ts'",
    "await import('../mcp/a.ts')",
    "import { a } from '@modelcontextprotocol/server/stdio'",
    "import { a } from '../app/main.ts'",
    "import {\n  a,\n} from '../app/main.ts'",
    "import type { a } from '../app/main.ts'",
  ];
  for (const form of forms) assert.equal(violations('src/std/x.ts', form).length, 1, form);
  assert.equal(
    violations('test/support/fake-sandbox/x.ts', "import '../microvm/a.ts'").length,
    1,
    'drivers never import each other',
  );
  assert.equal(
    violations('src/engine/x.ts', "import '../sandbox/microvm/a.ts'").length,
    1,
    'the engine is given a driver',
  );
});

test('every import the LAYERS table allows points up the table', () => {
  const order = Object.keys(LAYERS);
  for (const [layer, allowed] of Object.entries(LAYERS)) {
    for (const target of allowed) {
      assert.ok(order.indexOf(target) < order.indexOf(layer), `${layer} may import ${target}`);
    }
  }
});

test('ARCHITECTURE.md lists the layers in their order, each with all its folders', () => {
  const page = readFileSync('ARCHITECTURE.md', 'utf8');
  const rows = [...page.matchAll(/^\| `src\/(?<layer>[\w/]+)` \| (?<text>.*) \|$/gmu)].map(
    ({ groups }) => groups ?? {},
  );
  assert.deepEqual(
    rows.map(({ layer }) => layer),
    Object.keys(LAYERS),
  );
  const named = rows.flatMap(({ layer, text = '' }) =>
    [...text.matchAll(/`(?<folder>[\w/]+)\/`/gu)].map(({ groups }) => `src/${layer}/${groups?.['folder']}`),
  );
  const folders = new Set(globSync('src/**/*.ts').map((file) => dirname(file)));
  const layers = new Set(Object.keys(LAYERS).map((layer) => `src/${layer}`));
  assert.deepEqual(named.toSorted(), [...folders].filter((folder) => !layers.has(folder)).toSorted());
});

test('no file hides work: nothing is marked as left to do', () => {
  const marks = new RegExp(String.raw`\b(?:TO${'DO'}|FIX${'ME'}|XX${'X'})\b`, 'u');
  const files = globSync([
    'src/**/*.ts',
    'scripts/**/*.ts',
    'bench/**/*.ts',
    'guest/**/*.rs',
    'test/**/*.ts',
    'console/**/*.js',
  ]);
  assert.deepEqual(
    files.filter((file) => marks.test(readFileSync(file, 'utf8'))),
    [],
  );
});

test('settings come from the settings table: nobody else reads the environment', () => {
  const files = globSync('src/**/*.ts').filter((file) => layerOf(file) !== 'app');
  assert.deepEqual(
    files.filter((file) => /\bprocess\.env\b/u.test(readFileSync(file, 'utf8'))),
    [],
  );
});

test('every limit of the table is applied somewhere', () => {
  const files = globSync('src/**/*.ts').filter((file) => file !== 'src/contract/limits.ts');
  const names = new Set(files.flatMap((file) => readFileSync(file, 'utf8').match(/\b[a-z]\w+/gu) ?? []));
  assert.deepEqual(
    Object.keys(limits).filter((name) => !names.has(name)),
    [],
  );
});

test('COMPATIBILITY.md names versions and files as they are', () => {
  const page = readFileSync('COMPATIBILITY.md', 'utf8');
  assert.ok(page.includes(`| \`PRAGMA user_version\` ${MIGRATIONS.length} |`), 'the version of store.sqlite');
  const paths = [...page.matchAll(/`((?:src|docs|test|guest)\/[^`*]+)`/gu)].map(([, path = '']) => path);
  assert.ok(paths.length > 10, 'the check found the places of definition');
  const absent = paths.filter((path) => !path.startsWith('guest/dist') && !existsSync(path));
  assert.deepEqual(absent, []);
});
