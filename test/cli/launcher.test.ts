import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { test } from 'node:test';

const ROOT = resolve(import.meta.dirname, '../..');
const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };

/** The launchers alone, as in a package without the `node` dependency; its main.js prints its arguments. */
function published() {
  const folder = mkdtempSync(join(tmpdir(), 'contree-launch-'));
  cpSync(join(ROOT, 'bin'), join(folder, 'bin'), { recursive: true });
  cpSync(join(ROOT, 'package.json'), join(folder, 'package.json'));
  return { folder, [Symbol.dispose]: () => rmSync(folder, { recursive: true }) };
}

/** Makes launch.js see a different version of Node. */
function pretend(folder: string, node: string): readonly string[] {
  const preload = join(folder, 'pretend.cjs');
  writeFileSync(preload, `Object.defineProperty(process.versions, 'node', { value: '${node}' });`);
  return ['--require', preload];
}

test('both commands answer from a clone', () => {
  for (const program of ['contree', 'contree-mcp']) {
    const { status, stdout } = spawnSync(process.execPath, [join(ROOT, 'bin', program), '--version'], {
      encoding: 'utf8',
    });
    assert.deepEqual([status, stdout], [0, `${version}\n`], program);
  }
});

test('an older Node hands over to the one that the package brings: arguments, streams and exit code', () => {
  using place = published();
  const old = pretend(place.folder, '18.20.0');
  const program = join(ROOT, 'bin/contree');
  // The bundled Node must be a different file from the running one, as on a machine with an old Node.
  const copy = join(place.folder, 'node');
  cpSync(process.execPath, copy);
  const told = spawnSync(copy, [...old, program, '--version'], { encoding: 'utf8' });
  assert.deepEqual([told.status, told.stdout], [0, `${version}\n`]);
  assert.equal(spawnSync(copy, [...old, program, '--nope'], { encoding: 'utf8' }).status, 2);
});

test('an older Node and none to hand over to: one line that says what is needed', () => {
  using place = published();
  const program = join(place.folder, 'bin/contree-mcp');
  for (const old of ['20.1.0', '22.20.1']) {
    const { status, stderr, stdout } = spawnSync(process.execPath, [...pretend(place.folder, old), program], {
      encoding: 'utf8',
    });
    assert.deepEqual([status, stdout], [1, '']);
    assert.match(stderr, /^contree-mcp needs Node 22\.21 or newer, this is v\d+.*npx .* contree-mcp contree-mcp\n$/u);
  }
  // A clone has a bundled Node once it is set up.
  mkdirSync(join(place.folder, 'src/app'), { recursive: true });
  writeFileSync(join(place.folder, 'src/app/main.ts'), '');
  const { stderr } = spawnSync(process.execPath, [...pretend(place.folder, '22.22.0'), program], { encoding: 'utf8' });
  assert.match(stderr, /^contree-mcp needs Node 24\.0 or newer, this is v\d+.*scripts\/setup.*\n$/u);
});

test(
  'the system’s own Node, however old, can read the launchers',
  { skip: !existsSync('/usr/bin/node') && 'there is no /usr/bin/node' },
  () => {
    const { status, stdout } = spawnSync('/usr/bin/node', [join(ROOT, 'bin/contree'), '--version'], {
      encoding: 'utf8',
    });
    assert.deepEqual([status, stdout], [0, `${version}\n`]);
  },
);

test('the published package runs its dist', () => {
  using place = published();
  const main = join(place.folder, 'dist');
  cpSync(join(ROOT, 'bin'), join(main, 'app'), { recursive: true });
  rmSync(join(main, 'app/package.json'));
  writeFileSync(
    join(main, 'app/main.js'),
    'export const main = (program) => console.log(program, ...process.argv.slice(2));',
  );
  const { stdout } = spawnSync(process.execPath, [join(place.folder, 'bin/contree'), 'a', 'b'], { encoding: 'utf8' });
  assert.equal(stdout, 'contree a b\n');
});

/** A clone whose sources print "sources", with a bundle that prints "bundle" and was made of two of its files. */
function clone() {
  const place = published();
  const write = (path: string, text: string): void => {
    mkdirSync(dirname(join(place.folder, path)), { recursive: true });
    writeFileSync(join(place.folder, path), text);
  };
  write('src/app/main.ts', "export const main = () => console.log('sources');");
  write('src/part.ts', 'export const one: 1 = 1;');
  write('.build/program/app/main.js', "export const main = () => console.log('bundle');");
  utimesSync(join(place.folder, 'src/part.ts'), 1, 1);
  const files = ['src/app/main.ts', 'src/part.ts'].map((path) => {
    const { size, mtimeMs, ctimeMs } = statSync(join(place.folder, path));
    return [path, size, mtimeMs, ctimeMs];
  });
  write('.build/current.json', JSON.stringify({ main: '.build/program/app/main.js', files }));
  const run = (env: Readonly<Record<string, string>> = {}): string =>
    spawnSync(process.execPath, [join(place.folder, 'bin/contree')], {
      encoding: 'utf8',
      env: { ...process.env, NODE_V8_COVERAGE: '', ...env },
    }).stdout;
  const file = (path: string): string => join(place.folder, path);
  return { file, write, run, [Symbol.dispose]: () => place[Symbol.dispose]() };
}

test('a clone runs its bundle as long as no file that it was made of has changed', () => {
  using place = clone();
  assert.equal(place.run(), 'bundle\n');
  // Coverage counts lines of the sources.
  assert.equal(place.run({ NODE_V8_COVERAGE: place.file('coverage') }), 'sources\n');
  place.write('src/new.ts', '');
  assert.equal(place.run(), 'bundle\n', 'a file that is not part of it');
});

const changes: Readonly<Record<string, (place: ReturnType<typeof clone>) => void>> = {
  'has another time': ({ file }) => utimesSync(file('src/part.ts'), 2, 2),
  'was replaced by one of the same size and time': ({ file, write }) => {
    const { ctimeMs } = statSync(file('src/part.ts'));
    do {
      write('src/part.ts', 'export const one: 1 = 2;');
      utimesSync(file('src/part.ts'), 1, 1);
      // Until the clock of the file system has moved on.
    } while (statSync(file('src/part.ts')).ctimeMs === ctimeMs);
  },
  'is gone': ({ file }) => rmSync(file('src/part.ts')),
  'was never noted, because the bundle is not complete': ({ file }) =>
    rmSync(file('.build/program'), { recursive: true }),
  'cannot be known: the list is damaged': ({ write }) => write('.build/current.json', '{"main":'),
};

for (const [change, make] of Object.entries(changes)) {
  test(`a clone runs its sources when a file of the bundle ${change}`, () => {
    using place = clone();
    make(place);
    assert.equal(place.run(), 'sources\n');
  });
}

test('a reader that leaves early is not an error', async () => {
  const child = spawn(process.execPath, [join(ROOT, 'bin/contree'), '--help']);
  child.stdout.destroy();
  let stderr = '';
  child.stderr.on('data', (chunk) => (stderr += String(chunk)));
  const [code] = (await once(child, 'close')) as [number];
  assert.deepEqual([code, stderr], [0, '']);
});
