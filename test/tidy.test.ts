import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';

/** Folder of src/ → folders it may import. Read top to bottom: an import only ever points up the list. */
const LAYERS: Readonly<Record<string, readonly string[]>> = {
  std: [],
  contract: ['std'],
  config: ['std', 'contract'],
  erofs: ['std', 'contract'],
  archive: ['std', 'contract', 'erofs'],
  registry: ['std', 'contract'],
  store: ['std', 'contract'],
  images: ['std', 'contract', 'erofs', 'archive', 'registry', 'store'],
  'sandbox/microvm': ['std', 'contract', 'sandbox'],
  'sandbox/fake': ['std', 'contract', 'sandbox'],
  sandbox: ['std', 'contract'],
  transfer: ['std', 'contract'],
  engine: ['std', 'contract', 'config', 'erofs', 'archive', 'registry', 'store', 'images', 'sandbox'],
  client: ['std', 'contract'],
  tools: ['std', 'contract', 'transfer'],
  mcp: ['std', 'contract', 'config', 'tools'],
  http: ['std', 'contract', 'config', 'tools'],
  cli: ['std', 'contract', 'config', 'transfer', 'client', 'registry'],
};

/** npm package → folders of src/ that may import it. Every run-time dependency stands here. */
const PACKAGES: Readonly<Record<string, readonly string[]>> = {
  zod: [
    'contract',
    'config',
    'registry',
    'store',
    'http',
    'tools',
    'mcp',
    'sandbox',
    'sandbox/microvm',
    'client',
    'engine',
    'images',
  ],
  '@modelcontextprotocol/server': ['mcp'],
  hono: ['http'],
  '@hono/node-server': ['http'],
  'tar-stream': ['archive', 'transfer', 'cli', 'images'],
  ignore: ['transfer'],
  re2js: ['images'],
  pino: ['main', 'engine', 'http'],
  commander: ['cli'],
  undici: ['registry', 'client'],
  yaml: ['http', 'cli'],
  'jsonc-parser': ['cli'],
  'smol-toml': ['cli'],
  'eventsource-parser': ['client'],
};

/** Statements begin a line, or their `} from` does; only `import(` may stand anywhere. Prose in strings does neither. */
const SPECIFIER = /(?:^(?:(?:import|export)\b(?:[^'"\n]*\bfrom)?|\}\s*from)\s*|\bimport\s*\(\s*)['"]([^'"\n]+)['"]/gmu;

/** `src/sandbox/microvm/jail.ts` → `sandbox/microvm`; `src/main.ts` → `main`. */
function layerOf(file: string): string {
  const [, first = '', second = ''] = file.split('/');
  if (first.endsWith('.ts')) return 'main';
  return `${first}/${second}` in LAYERS ? `${first}/${second}` : first;
}

function violations(file: string, text: string): string[] {
  const layer = layerOf(file);
  const specifiers = [...text.matchAll(SPECIFIER)].map(([, specifier = '']) => specifier);
  const packages = specifiers.filter((name) => !name.startsWith('.') && !name.startsWith('node:'));
  const bad = packages
    .map((name) =>
      name
        .split('/')
        .slice(0, name.startsWith('@') ? 2 : 1)
        .join('/'),
    )
    .filter((name) => !(PACKAGES[name] ?? []).includes(layer));
  if (layer === 'main') return bad.map((target) => `${file} imports ${target}`);
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

test('the check itself sees every form of import', () => {
  const forms = [
    "import '../mcp/a.ts'",
    "export { a } from '../mcp/a.ts'",
    "await import('../mcp/a.ts')",
    "import { a } from '@modelcontextprotocol/server/stdio'",
    "import { a } from '../main.ts'",
    "import {\n  a,\n} from '../main.ts'",
    "import type { a } from '../main.ts'",
  ];
  for (const form of forms) assert.equal(violations('src/std/x.ts', form).length, 1, form);
  assert.equal(
    violations('src/sandbox/fake/x.ts', "import '../microvm/a.ts'").length,
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
      if (target === 'sandbox' && layer.startsWith('sandbox/')) continue;
      assert.ok(order.indexOf(target) < order.indexOf(layer), `${layer} may import ${target}`);
    }
  }
});

/** Folder of console/app/ → folders it may import; what stands beside them may import all. */
const CONSOLE: Readonly<Record<string, readonly string[]>> = {
  kit: ['kit'],
  api: ['kit', 'api'],
  views: ['kit', 'api', 'views'],
};

/** Comments with types may name the contract, whose shapes the console shows; code has nothing from outside. */
test('the console imports nothing from outside, and its parts one way', () => {
  const files = globSync('console/app/**/*.js');
  assert.ok(files.length > 20, 'the check found the console');
  const bad = files.flatMap((file) => {
    const allowed = CONSOLE[dirname(file).slice('console/app/'.length)];
    return [...readFileSync(file, 'utf8').matchAll(SPECIFIER)]
      .map(([, name = '']) => (name.startsWith('.') ? join(dirname(file), name) : name))
      .filter((target) => {
        const [, folder = ''] = /^console\/app\/(\w+)\//u.exec(target) ?? [];
        return folder === '' || !(allowed ?? Object.keys(CONSOLE)).includes(folder);
      })
      .map((target) => `${file} imports ${target}`);
  });
  assert.deepEqual(bad, []);
});

test('the console never makes text into markup', () => {
  const makers =
    /\b(?:innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|setHTML\w*|eval|Function)\b/u;
  const files = globSync('console/app/**/*.js');
  assert.deepEqual(
    files.filter((file) => makers.test(readFileSync(file, 'utf8'))),
    [],
  );
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
  const files = globSync('src/**/*.ts').filter((file) => layerOf(file) !== 'main' && !file.startsWith('src/cli/entry'));
  assert.deepEqual(
    files.filter((file) => /\bprocess\.env\b/u.test(readFileSync(file, 'utf8'))),
    [],
  );
});
