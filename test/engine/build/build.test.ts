import assert from 'node:assert/strict';
import { test } from 'node:test';
import { streamBytes } from '../../../src/contract/stream.ts';
import { addRoot, followed } from '../bench.ts';
import { bench, build, built, failed, FILES, filesOf } from './bench.ts';

test('every instruction is an image of the lineage, named by its line', async () => {
  const { steps, config, uuid } = await built(
    'FROM base\nARG V=1\nENV A=$V\nRUN echo hi > /out\nCOPY a /b\nCMD ["x"]',
    { a: 'A' },
  );
  assert.deepEqual(steps, ['import', 'ARG V=1', 'ENV A=$V', 'RUN echo hi > /out', 'COPY a /b', 'CMD ["x"]']);
  assert.deepEqual([config.env['A'], config.cmd], ['1', ['x']]);
  assert.deepEqual(await filesOf(uuid, '/out'), ['/out 644 0:0 "hi\\n"']);
  assert.deepEqual(await filesOf(uuid, '/b '), ['/b 644 0:0 "A"']);
});

test('an equal step is not made again, and a changed one only from there on', async () => {
  const file = (last: string): string => `FROM base\nRUN echo one > /1\nCOPY f /f\n${last}`;
  const first = await built(file('RUN echo a > /2'), { f: 'F' });
  const again = await built(file('RUN   echo a > /2'), { f: 'F' });
  assert.equal(again.uuid, first.uuid);
  assert.equal(again.lines.filter((line) => line.includes('CACHED')).length, 3);
  const changed = await built(file('RUN echo b > /2'), { f: 'F' });
  assert.equal(changed.lines.filter((line) => line.includes('CACHED')).length, 2);
  const other = await built(file('RUN echo a > /2'), { f: 'G' });
  assert.equal(other.lines.filter((line) => line.includes('CACHED')).length, 1);
  const fresh = await built(file('RUN echo a > /2'), { f: 'F' }, { no_cache: true });
  assert.equal(fresh.lines.filter((line) => line.includes('CACHED')).length, 0);
  assert.notEqual(fresh.uuid, first.uuid);
});

test('a step is remembered as long as its image', async () => {
  const text = 'FROM base\nRUN echo forgotten > /f';
  const { uuid } = await built(text);
  await bench.engine.images.delete(uuid);
  const { lines } = await built(text);
  assert.ok(!lines.some((line) => line.includes('CACHED')));
});

test('the value of an ARG matters to what uses it, and to nothing else', async () => {
  const file = 'FROM base\nARG V=1\nCOPY f /f\nRUN echo $V > /v\nENV W=$V';
  const one = await built(file, { f: 'F' });
  const two = await built(file, { f: 'F' }, { build_args: { V: '2', NO: 'x' } });
  assert.equal(two.lines.filter((line) => line.includes('CACHED')).length, 2, two.lines.join('\n'));
  assert.deepEqual(await filesOf(two.uuid, '/v'), ['/v 644 0:0 "2\\n"']);
  assert.deepEqual([one.config.env['W'], two.config.env['W']], ['1', '2']);
  assert.ok(two.lines.includes('warning: no ARG declares the build argument NO'));
});

test('stages are built once each, only if they are needed, and files are copied between them', async () => {
  const file = `FROM base AS one
RUN echo 1 > /one
FROM base AS never
RUN false
FROM one AS two
RUN echo 2 > /two
FROM scratch
COPY --from=two /one /two /
COPY --from=0 --chown=9 /one /own
COPY --from=base /etc/passwd /p`;
  const { uuid, steps, lines } = await built(file);
  assert.deepEqual(
    (await filesOf(uuid)).map((line) => line.split(' ').slice(0, 3).join(' ')),
    ['/ 755 0:0', '/one 644 0:0', '/own 644 9:9', '/p 644 0:0', '/two 644 0:0'],
  );
  assert.equal(steps.length, 4);
  assert.equal(lines.filter((line) => line.includes('RUN echo 1')).length, 1);
  assert.ok(!lines.some((line) => line.includes('RUN false')));
  const target = await built(file, {}, { target: 'ONE' });
  assert.deepEqual(target.steps.at(-1), 'RUN echo 1 > /one');
});

test('a stage whose files are equal gives the steps that copy them from memory', async () => {
  const file = (comment: string): string =>
    `FROM base AS a\nRUN echo same > /f\nENV C=${comment}\nFROM base\nCOPY --from=a /f /g\nRUN echo done > /h`;
  await built(file('1'));
  const { lines } = await built(file('2'));
  assert.equal(lines.filter((line) => line.includes('CACHED')).length, 3, lines.join('\n'));
});

test('metadata changes the configuration only', async () => {
  const { config, uuid } = await built(`FROM base
MAINTAINER me
LABEL a="b c" d=e
EXPOSE 80 53/udp 8000-8001
VOLUME /data /x
VOLUME ["/more data"]
STOPSIGNAL SIGINT
SHELL ["/bin/bash", "-c"]
CMD one
ENTRYPOINT ["two"]
CMD three
HEALTHCHECK --interval=5s --retries=2 CMD check
USER 5:6
ENV P=/p Q="$P/q" R=\${HOME:-none}
WORKDIR /a
WORKDIR b/$Q
ONBUILD RUN true`);
  assert.deepEqual(config, {
    env: { P: '/p', Q: '/q', R: 'none' },
    cwd: '/a/b/q',
    user: '5:6',
    entrypoint: ['two'],
    cmd: ['/bin/bash', '-c', 'three'],
    labels: { a: 'b c', d: 'e' },
    author: 'me',
    exposed_ports: ['53/udp', '80/tcp', '8000/tcp', '8001/tcp'],
    volumes: ['/data', '/more data', '/x'],
    stop_signal: 'SIGINT',
    shell: ['/bin/bash', '-c'],
    healthcheck: { test: ['CMD-SHELL', 'check'], interval: 5e9, retries: 2 },
    onbuild: ['RUN true'],
  });
  assert.deepEqual(await filesOf(uuid, '/a'), [
    '/a 755 5:6 directory',
    '/a/b 755 5:6 directory',
    '/a/b/q 755 5:6 directory',
  ]);
});

test('the triggers of a base run first, once', async () => {
  const parent = await addRoot(
    bench.store,
    { onbuild: ['COPY d/a /t', 'RUN echo $X > /x'], env: { X: 'v' } },
    'onbuild',
  );
  const { steps, config, uuid } = await built(`FROM ${parent.uuid}\nRUN echo own > /own`, FILES);
  assert.deepEqual(steps.slice(1), ['COPY d/a /t', 'RUN echo $X > /x', 'RUN echo own > /own']);
  assert.equal(config.onbuild, undefined);
  assert.deepEqual(await filesOf(uuid, '/x'), ['/x 644 0:0 "v\\n"']);
});

test('a number that the image does not know is a user of group 0, and an owner (--chown, WORKDIR) of its own group', async () => {
  const { uuid } = await built(
    'FROM base\nUSER 1234\nRUN id > /x && id -g >> /x\nWORKDIR /w\nCOPY --chown=55 d/a /a',
    FILES,
  );
  assert.deepEqual(await filesOf(uuid, '/x'), ['/x 644 0:0 "1234\\n0\\n"']);
  assert.deepEqual(await filesOf(uuid, '/w'), ['/w 755 1234:1234 directory']);
  assert.match((await filesOf(uuid, '/a'))[0] ?? '', /^\/a \d+ 55:55 /u);
});

test('RUN has the shell, user, directory, environment and arguments of its line', async () => {
  const { uuid } = await built(
    `FROM base
ENV A=image
ARG B=arg
ARG A=hidden
WORKDIR /w
USER 7:8
RUN echo "$A $B $http_proxy $HOME" > out && id >> out && id -g >> out && pwd >> out
RUN ["printf", "%s", "$A"]
RUN <<EOF
echo here > doc
EOF`,
    {},
    { build_args: { http_proxy: 'p' } },
  );
  assert.deepEqual(await filesOf(uuid, '/w/out'), ['/w/out 644 0:0 "image arg p /\\n7\\n8\\n/w\\n"']);
  assert.deepEqual(await filesOf(uuid, '/w/doc'), ['/w/doc 644 0:0 "here\\n"']);
});

test('a failed step says where, why and what to open, and leaves the image before it', async () => {
  const { operation, events } = await build({
    dockerfile_text: 'FROM base\nRUN echo kept > /k\n\nRUN echo no way && false\nRUN true',
  });
  assert.equal(operation.status, 'FAILED');
  assert.equal(operation.error_code, 'BUILD_FAILED');
  const [, image = ''] = /the image before it is ([0-9a-f-]{36})/u.exec(operation.error ?? '') ?? [];
  assert.match(
    operation.error ?? '',
    /^line 4 of the Dockerfile: RUN echo no way && false: exit code 1; .*\nno way$/su,
  );
  assert.deepEqual(await filesOf(image, '/k'), ['/k 644 0:0 "kept\\n"']);
  const output = events.filter((event) => event.type === 'stdout' && event.spid !== 0);
  assert.deepEqual(
    output.map(({ data }) => streamBytes(data as never).toString()),
    ['no way\n'],
    'and it was seen live',
  );
});

const REFUSED: readonly (readonly [text: string, reason: RegExp])[] = [
  ['FROM base\nFOO x', /line 2.*not an instruction/u],
  ['FROM base\nCOPY missing /x', /line 2.*"missing" is not in the context/u],
  ['FROM base\nCOPY --from=base /missing /x', /line 2.*"\/missing" is not in base/u],
  ['FROM base\nCOPY d t.tgz /x', /line 2.*ends with a slash/u],
  ['FROM base\nCOPY d /etc/passwd', /line 2.*a file at "\/etc\/passwd"/u],
  ['FROM base\nCOPY d/a /etc/passwd/x', /line 2.*not a directory/u],
  ['FROM base\nCOPY --chown=nobody:x d/a /x', /line 2.*does not know.*"nobody"/u],
  ['FROM base\nCOPY --chmod=9 d/a /x', /line 2.*not a mode/u],
  ['FROM base\nADD https://github.com/a/b.git /x', /line 2.*not supported: clone it in a RUN/u],
  ['FROM base\nUSER nobody\nRUN true', /line 3.*does not know the user.*"nobody"/u],
  ['FROM base\nRUN --mount=type=ssh,id=k,required true', /line 2.*"k" is not given: build with --ssh k/u],
  [`FROM base\nRUN ${'--mount=type=ssh '.repeat(17)} true`, /line 2.*more than 16 agents/u],
  ['FROM base\nRUN --mount=type=cache,target=/x,source=y true', /line 2.*a source only in what it is from/u],
  ['FROM base\nRUN --mount=type=cache,target=/x,from=base,source=/etc/passwd true', /line 2.*not a directory/u],
  ['FROM base\nRUN --mount=type=tmpfs,target=/x,size=1m true', /line 2.*not supported/u],
  ['FROM base\nRUN --mount=type=bind,target=/ true', /line 2.*root/u],
  ['FROM base\nRUN --mount=type=bind,source=none,target=/x true', /line 2.*no "none" to bind/u],
  ['FROM base\nRUN --mount=type=secret,id=none,required true', /line 2.*"none" is not given/u],
  ['FROM base\nEXPOSE 99999', /line 2.*not a port/u],
  ['FROM base\nEXPOSE 1-10001', /line 2.*more than 10000 ports/u],
  ['FROM base\nEXPOSE 1-9999 1-9999', /line 2.*more than 10000 ports/u],
  ['FROM base\nENV A=${B:?needed}', /line 2.*needed/u],
  ['FROM base\nFROM --platform=linux/mips base', /line 2.*linux\/mips: this server builds for linux\/\w+ only/u],
  ['FROM tag:none', /none/u],
];

for (const [text, reason] of REFUSED) {
  test(`a build is refused with the line: ${JSON.stringify(text)}`, async () => {
    const { error, error_code: code } = await failed(text, FILES);
    assert.match(error ?? '', reason);
    assert.notEqual(code, 'INTERNAL');
  });
}

test('a build that is cancelled ends, with all of its stages', async () => {
  const text = 'FROM base AS a\nRUN sleep 60\nFROM base\nRUN sleep 61\nCOPY --from=a /x /x';
  const { uuid } = await bench.engine.images.build({ dockerfile_text: text });
  for await (const event of bench.engine.operations.events(uuid, { follow: true }, AbortSignal.timeout(30_000))) {
    if (event.type === 'spawn') break;
  }
  await bench.engine.operations.cancel(uuid);
  assert.equal((await followed(bench.engine, uuid)).at(-1)?.type, 'completion');
  assert.equal((await bench.engine.operations.get(uuid)).status, 'CANCELLED');
});

test('a tag is set with the end of the build, and arguments are recorded by name', async () => {
  const { operation } = await build({
    dockerfile_text: 'FROM base\nARG S',
    tag: 'made:1',
    build_args: { S: 'secret-value' },
  });
  assert.equal(bench.store.tags.find('made:1'), operation.result?.image);
  assert.deepEqual(operation.metadata, {
    registry: { url: 'dockerfile:Dockerfile' },
    tag: 'made:1',
    timeout: 3_600,
    build: { dockerfile: 'Dockerfile', target: null, build_args: ['S'] },
  });
  await assert.rejects(bench.engine.images.build({ dockerfile_text: 'FROM base', tag: 'no tag' }), {
    code: 'TAG_INVALID',
  });
  await assert.rejects(bench.engine.images.build({ context: { file: 'none' } }), { code: 'UPLOAD_NOT_FOUND' });
});

test('only the owner lends agents, and only those that are there', async () => {
  const request = { dockerfile_text: 'FROM base', ssh: [{ id: 'default', socket: '/nowhere' }] };
  await assert.rejects(bench.engine.images.build(request), /"default": there is no agent at its socket/u);
  const other = bench.engine.forTenant({ project: 'default', isOwner: false });
  await assert.rejects(other.images.build(request), /by its owner; use a secret elsewhere/u);
});
