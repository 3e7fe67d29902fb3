import assert from 'node:assert/strict';
import { gzipSync } from 'node:zlib';
import { test } from 'node:test';
import { tarOf } from '../../support/tar.ts';
import { once } from '../bench.ts';
import { bench, build, built, contextOf, failed, FILES, filesOf } from './bench.ts';

const COPIES: readonly (readonly [name: string, lines: string, expected: readonly string[]])[] = [
  ['a file to a new name', 'COPY d/a /x/y', ['/x 755 0:0 directory', '/x/y 640 0:0 "a"']],
  ['a file into a new directory', 'COPY d/a /x/', ['/x 755 0:0 directory', '/x/a 640 0:0 "a"']],
  ['a file into a directory of the image', 'COPY d/a /usr', ['/usr/a 640 0:0 "a"']],
  ['relative to the working directory', 'WORKDIR /w\nCOPY d/a .', ['/w 755 0:0 directory', '/w/a 640 0:0 "a"']],
  [
    'the content of a directory',
    'COPY d /x',
    [
      '/x 755 0:0 directory',
      '/x/a 640 0:0 "a"',
      '/x/e 755 0:0 directory',
      '/x/e/b.txt 644 0:0 "b"',
      '/x/l 777 0:0 -> a',
    ],
  ],
  [
    'a pattern',
    'COPY d/* /x/',
    ['/x 755 0:0 directory', '/x/a 640 0:0 "a"', '/x/b.txt 644 0:0 "b"', '/x/l 640 0:0 "a"'],
  ],
  ['a pattern of names only', 'COPY d/?/*.txt /x/', ['/x 755 0:0 directory', '/x/b.txt 644 0:0 "b"']],
  ['a pattern that nothing matches', 'COPY nothing* d/a /x/', ['/x 755 0:0 directory', '/x/a 640 0:0 "a"']],
  ['through a link of the image', 'COPY d/a /bin/t', ['/usr/bin/t 640 0:0 "a"']],
  ['a directory over a link of the image', 'COPY root /', ['/usr/bin/tool 755 0:0 "T"']],
  [
    'with owner and mode',
    'COPY --chown=7:8 --chmod=u=rwX,go= d /x',
    [
      '/x 755 7:8 directory',
      '/x/a 600 7:8 "a"',
      '/x/e 700 7:8 directory',
      '/x/e/b.txt 600 7:8 "b"',
      '/x/l 777 7:8 -> a',
    ],
  ],
  ['with the owner of a name', 'COPY --chown=root d/a /x', ['/x 640 0:0 "a"']],
  [
    'without what is excluded',
    'COPY --exclude=*.txt --exclude=**/*.txt --exclude=l d /x',
    ['/x 755 0:0 directory', '/x/a 640 0:0 "a"', '/x/e 755 0:0 directory'],
  ],
  [
    'with its parents',
    'COPY --parents d/e/*.txt d/./a /x/',
    [
      '/x 755 0:0 directory',
      '/x/a 640 0:0 "a"',
      '/x/d 750 0:0 directory',
      '/x/d/e 755 0:0 directory',
      '/x/d/e/b.txt 644 0:0 "b"',
    ],
  ],
  [
    'with its parents at any depth',
    'COPY --parents **/b.txt /x/',
    ['/x 755 0:0 directory', '/x/d 750 0:0 directory', '/x/d/e 755 0:0 directory', '/x/d/e/b.txt 644 0:0 "b"'],
  ],
  [
    'from a here-document',
    'ENV N=v\nCOPY <<one <<"two" /x/\n$N \\$N\none\n$N\ntwo',
    ['/x 755 0:0 directory', '/x/one 644 0:0 "v $N\\n"', '/x/two 644 0:0 "$N\\n"'],
  ],
  ['variables', 'ENV N=d\nARG M=a\nCOPY $N/${M} /x', ['/x 640 0:0 "a"']],
  ['upwards no further than the context', 'COPY ../../d/a /x', ['/x 640 0:0 "a"']],
  ['ADD of a plain file', 'ADD d/a /x', ['/x 640 0:0 "a"']],
  ['ADD of an archive', 'ADD t.tgz /x', ['/x 755 0:0 directory', '/x/in 755 3:4 directory', '/x/in/f 600 3:4 "f"']],
  ['ADD of an xz archive', 'ADD t.txz /x', ['/x 755 0:0 directory', '/x/in 755 3:4 directory', '/x/in/f 600 3:4 "f"']],
  [
    'ADD of a bzip2 archive',
    'ADD t.tbz /x',
    ['/x 755 0:0 directory', '/x/in 755 3:4 directory', '/x/in/f 600 3:4 "f"'],
  ],
  ['ADD of an archive that stays packed', 'ADD --unpack=false --chmod=600 text.gz /x', ['/x 600 0:0 "']],
  ['ADD of compressed data that is no archive', 'ADD --chmod=600 text.gz /x', ['/x 600 0:0 "']],
];

for (const [name, lines, expected] of COPIES) {
  test(`COPY and ADD: ${name}`, async () => {
    const before = new Set(await filesOf(bench.base.uuid));
    const { uuid } = await built(`FROM base\n${lines}`, FILES);
    const added = (await filesOf(uuid)).filter((line) => !before.has(line) && !/^\/(?:usr|usr\/bin)? \d/u.test(line));
    assert.deepEqual(
      added.map((line) => (line.includes('\\u001f') ? line.slice(0, line.indexOf('"') + 1) : line)),
      expected,
    );
  });
}

test('--link replaces what the image has in the way of its destination', async () => {
  const { uuid } = await built('FROM base\nCOPY --link d/a /bin/t', FILES);
  assert.deepEqual(await filesOf(uuid, '/bin'), ['/bin 755 0:0 directory', '/bin/t 640 0:0 "a"']);
});

test('what .dockerignore names is not there, but the Dockerfile itself is read', async () => {
  const files = { ...FILES, Dockerfile: 'FROM base\nCOPY . /x', '.dockerignore': '*\n!d\nd/e\n!d/e/b.txt\nd/l' };
  const { operation } = await build({ context: await contextOf(files) });
  assert.deepEqual(await filesOf(operation.result?.image ?? '', '/x'), [
    '/x 755 0:0 directory',
    '/x/d 750 0:0 directory',
    '/x/d/a 640 0:0 "a"',
    '/x/d/e 755 0:0 directory',
    '/x/d/e/b.txt 644 0:0 "b"',
  ]);
  const own = { ...files, 'sub/D': 'FROM base\nCOPY d /x', 'sub/D.dockerignore': 'd/*\n!d/a' };
  const second = await build({ context: await contextOf(own), dockerfile: 'sub/D' });
  assert.deepEqual(await filesOf(second.operation.result?.image ?? '', '/x'), [
    '/x 755 0:0 directory',
    '/x/a 640 0:0 "a"',
  ]);
  const { error } = await failed('FROM base\nCOPY t.tgz /x', files);
  assert.match(error ?? '', /line 2.*"t.tgz" is left out by .dockerignore/u);
});

test('a context may be an archive', async () => {
  const members = [
    { path: 'Dockerfile', content: 'FROM base\nCOPY --chmod=0600 x y /z/' },
    { path: 'x', content: 'X', uid: 5 },
    { path: 'y', flag: '1', linkname: 'x' },
  ];
  const { uuid } = await bench.engine.uploads.create(once(gzipSync(tarOf(members))));
  const { operation } = await build({ context: { file: uuid } });
  assert.deepEqual(await filesOf(operation.result?.image ?? '', '/z/'), ['/z/x 600 0:0 "X"', '/z/y 600 0:0 "X"']);
  const bad = await bench.engine.uploads.create(once(tarOf([{ path: '../x', content: 'X' }])));
  assert.equal((await failed({ context: { file: bad.uuid } })).error_code, 'LAYER_MALFORMED');
});
