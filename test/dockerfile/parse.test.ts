import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { isFault } from '../../src/contract/errors.ts';
import { limits } from '../../src/contract/limits.ts';
import type { Instruction } from '../../src/dockerfile/instruction.ts';
import { parseDockerfile, parseTrigger } from '../../src/dockerfile/parse.ts';
import { parseMount } from '../../src/dockerfile/mount.ts';
import { parseChmod } from '../../src/dockerfile/mode.ts';
import { globalScope, StageScope } from '../../src/dockerfile/scope.ts';
import { planStage, planStages } from '../../src/dockerfile/stages.ts';
import { type Substitution, Work } from '../../src/dockerfile/substitute.ts';
import { atLine } from './at-line.ts';

/** The one instruction after FROM, without its place. */
function parsed(text: string): Omit<Instruction, 'line' | 'text'> {
  const [instruction] = parseDockerfile(`FROM a\n${text}`).stages[0]?.instructions ?? [];
  assert.ok(instruction);
  const { line: _line, text: _text, ...rest } = instruction;
  return rest;
}

const COPY = {
  kind: 'COPY',
  sources: ['a'],
  contents: [],
  destination: 'b',
  from: undefined,
  chown: undefined,
  chmod: undefined,
  checksum: undefined,
  exclude: [],
  link: false,
  parents: false,
  unpack: undefined,
};
const HEALTH = { kind: 'HEALTHCHECK', interval: 0, timeout: 0, startPeriod: 0, startInterval: 0, retries: 0 };

const INSTRUCTIONS: readonly (readonly [text: string, expected: object])[] = [
  ['CMD a b', { kind: 'CMD', command: { form: 'shell', expression: 'a b' } }],
  ['CMD ["a", "b c"]', { kind: 'CMD', command: { form: 'exec', words: ['a', 'b c'] } }],
  ["CMD ['a']", { kind: 'CMD', command: { form: 'shell', expression: "['a']" } }],
  ['ENTRYPOINT []', { kind: 'ENTRYPOINT', command: { form: 'exec', words: [] } }],
  [
    'ENV a=1 b="x y" c=a\\ b',
    {
      kind: 'ENV',
      pairs: [
        ['a', '1'],
        ['b', '"x y"'],
        ['c', 'a\\ b'],
      ],
    },
  ],
  ['ENV a  x = y "z"', { kind: 'ENV', pairs: [['a', 'x = y "z"']] }],
  ['ENV a=', { kind: 'ENV', pairs: [['a', '']] }],
  [
    'LABEL "a.b"="c d" e=f',
    {
      kind: 'LABEL',
      pairs: [
        ['"a.b"', '"c d"'],
        ['e', 'f'],
      ],
    },
  ],
  [
    'ARG a b=1 c=',
    {
      kind: 'ARG',
      args: [
        ['a', undefined],
        ['b', '1'],
        ['c', ''],
      ],
    },
  ],
  ['WORKDIR /a b', { kind: 'WORKDIR', value: '/a b' }],
  ['USER a:b', { kind: 'USER', value: 'a:b' }],
  ['STOPSIGNAL SIGINT', { kind: 'STOPSIGNAL', value: 'SIGINT' }],
  ['MAINTAINER me <a@b>', { kind: 'MAINTAINER', value: 'me <a@b>' }],
  ['EXPOSE 80 443/tcp', { kind: 'EXPOSE', words: ['80', '443/tcp'] }],
  ['VOLUME /a /b', { kind: 'VOLUME', words: ['/a', '/b'] }],
  ['VOLUME ["/a b"]', { kind: 'VOLUME', words: ['/a b'] }],
  ['SHELL ["/bin/bash", "-c"]', { kind: 'SHELL', words: ['/bin/bash', '-c'] }],
  ['ONBUILD RUN a\\\nb', { kind: 'ONBUILD', trigger: 'RUN ab' }],
  ['ONBUILD COPY --chown=1 a b', { kind: 'ONBUILD', trigger: 'COPY --chown=1 a b' }],
  ['HEALTHCHECK NONE', { ...HEALTH, test: ['NONE'] }],
  [
    'HEALTHCHECK --interval=1m30s --timeout=500ms --start-period=1.5h --retries=3 CMD curl x || exit 1',
    {
      ...HEALTH,
      test: ['CMD-SHELL', 'curl x || exit 1'],
      interval: 90e9,
      timeout: 5e8,
      startPeriod: 5_400e9,
      retries: 3,
    },
  ],
  ['HEALTHCHECK CMD ["a"]', { ...HEALTH, test: ['CMD', 'a'] }],
  ['COPY a b', COPY],
  ['COPY ["a", "b"]', COPY],
  [
    'COPY --from=x --link --parents=false --exclude=*.a --exclude=b a b',
    { ...COPY, from: 'x', link: true, exclude: ['*.a', 'b'] },
  ],
  [
    'ADD --checksum=sha256:1 --chown=1:2 --chmod=u+x --unpack=false a b',
    { ...COPY, kind: 'ADD', checksum: 'sha256:1', chown: '1:2', chmod: 'u+x', unpack: false },
  ],
  [
    'RUN --network=none --mount=type=tmpfs,target=/a b',
    {
      kind: 'RUN',
      command: { form: 'shell', expression: 'b' },
      heredocs: [],
      mounts: ['type=tmpfs,target=/a'],
      network: 'none',
    },
  ],
  ['RUN ["a"]', { kind: 'RUN', command: { form: 'exec', words: ['a'] }, heredocs: [], mounts: [], network: 'default' }],
];

/** The expected value with its pairs written out. */
function written(expected: object): object {
  if (!('pairs' in expected) && !('args' in expected)) return expected;
  const entries = Object.entries(expected).map(([key, value]: [string, unknown]) => {
    if (key !== 'pairs' && key !== 'args') return [key, value];
    const rows = value as readonly (readonly [string, string | undefined])[];
    return [key, rows.map(([name, of]) => ({ name, value: of }))];
  });
  return Object.fromEntries(entries) as object;
}

for (const [text, expected] of INSTRUCTIONS) {
  test(`an instruction is parsed: ${text}`, () => assert.deepEqual(parsed(text), written(expected)));
}

test('COPY takes files from here-documents beside others', () => {
  const copy = parsed('COPY a <<"x y" << two /to/\n1\nx y\n2\ntwo') as typeof COPY;
  assert.deepEqual(copy.sources, ['a']);
  assert.deepEqual(
    copy.contents.map(({ name, content, expand }) => [name, content, expand]),
    [
      ['x y', '1\n', false],
      ['two', '2\n', true],
    ],
  );
  assert.equal(copy.destination, '/to/');
});

const FAULTS: readonly (readonly [text: string, line: number, reason: RegExp])[] = [
  ['', 1, /no FROM/u],
  ['RUN a', 1, /before the first FROM/u],
  ['FROM a\nFOO b', 2, /"FOO" is not an instruction/u],
  ['FROM a\nconstructor b', 2, /not an instruction/u],
  ['FROM a b c', 1, /FROM takes/u],
  ['FROM a AS 1x', 1, /cannot name a stage/u],
  ['FROM a AS scratch', 1, /scratch/u],
  ['FROM --no=1 a', 1, /FROM --no is not supported/u],
  ['FROM a\nRUN', 2, /needs a command/u],
  ['FROM a\nRUN ["a", 1]', 2, /only strings/u],
  ['FROM a\nRUN --network=host a', 2, /--network=host needs the entitlement network\.host/u],
  ['FROM a\nRUN --network=other a', 2, /default, none or host/u],
  ['FROM a\nRUN --security=insecure a', 2, /--security=insecure needs the entitlement security\.insecure/u],
  ['FROM a\nRUN --security=x a', 2, /sandbox or insecure/u],
  ['FROM a\nRUN --device=x a', 2, /--device is not supported/u],
  ['FROM a\n\nCOPY a', 3, /a source and a destination/u],
  ['FROM a\nCOPY --chown=1 --chown=2 a b', 2, /given twice/u],
  ['FROM a\nCOPY --link=x a b', 2, /true or false/u],
  ['FROM a\nCOPY --from a b', 2, /needs a value/u],
  ['FROM a\nCOPY a <<E\nE', 2, /destination/u],
  ['FROM a\nADD --keep-git-dir=true a b', 2, /keep-git-dir/u],
  [`FROM a\nCOPY ${'--exclude=a '.repeat(201)}a b`, 2, /more than 200 flags/u],
  ...['ARG', 'EXPOSE', 'VOLUME', 'COPY'].map(
    (keyword) => [`FROM a\n${keyword} ${'a '.repeat(10_001)}`, 2, /more than 10000 words/u] as const,
  ),
  [`FROM a\nLABEL ${'a=b '.repeat(10_001)}`, 2, /more than 10000 words/u],
  ['FROM a\nENV a', 2, /name and a value/u],
  ['FROM a\nENV a=1 b', 2, /lacks the =/u],
  ['FROM a\nENV =1', 2, /needs a name/u],
  ['FROM a\nSHELL /bin/sh -c', 2, /JSON list/u],
  ['FROM a\nHEALTHCHECK --interval=1 CMD a', 2, /not a duration/u],
  ['FROM a\nHEALTHCHECK --interval=1us CMD a', 2, /shorter/u],
  ['FROM a\nHEALTHCHECK FOO', 2, /NONE, or CMD/u],
  ['FROM a\nONBUILD ONBUILD RUN a', 2, /cannot hold ONBUILD/u],
  ['FROM a\nONBUILD FROM b', 2, /cannot hold FROM/u],
  ['FROM a\nONBUILD COPY a', 2, /a source and a destination/u],
  ['FROM a\nEXPOSE', 2, /needs an argument/u],
  ['FROM a\nVOLUME [""]', 2, /needs an argument/u],
  [`FROM a\n${'FROM b\n'.repeat(limits.dockerfileStagesMax)}`, limits.dockerfileStagesMax + 1, /stages/u],
];

for (const [text, line, reason] of FAULTS) {
  test(`a Dockerfile is refused with the line: ${JSON.stringify(text.slice(0, 60))}`, () => {
    assert.throws(() => parseDockerfile(text), atLine(line, reason));
  });
}

test('a trigger is reported at the line of the build', () => {
  assert.equal(parseTrigger('RUN cat <<E\na\nE', 9).line, 9);
  assert.throws(() => parseTrigger('RUN a\nRUN b', 9), atLine(9, /not one instruction/u));
  assert.throws(() => parseTrigger('FOO', 9), atLine(9, /not an instruction/u));
});

const NO_MOUNT = {
  type: 'bind',
  from: undefined,
  source: undefined,
  target: undefined,
  readOnly: false,
  id: undefined,
  sharing: 'shared',
  required: false,
  mode: undefined,
  uid: undefined,
  gid: undefined,
  sizeBytes: undefined,
  env: undefined,
};
const substitution: Substitution = {
  variables: new Map([['D', '/data']]),
  escape: '\\',
  line: 4,
  get work() {
    return new Work();
  },
};

const MOUNTS: readonly (readonly [text: string, expected: object])[] = [
  ['target=/a', { target: '/a', readOnly: true }],
  ['type=bind,from=x,src=y,dst=$D,rw', { from: 'x', source: 'y', target: '/data' }],
  [
    'type=cache,id=c,target=/a,sharing=locked,mode=0700,uid=1,gid=2',
    { type: 'cache', id: 'c', target: '/a', sharing: 'locked', mode: 0o700, uid: 1, gid: 2 },
  ],
  ['type=cache,target=/a,ro=true', { type: 'cache', target: '/a', readOnly: true }],
  ['type=tmpfs,target=/a,size=64m', { type: 'tmpfs', target: '/a', sizeBytes: 64 * 1024 * 1024 }],
  ['type=secret,id=s,env=TOKEN,required', { type: 'secret', id: 's', env: 'TOKEN', required: true }],
  ['type=bind,"target=/a,b"', { target: '/a,b', readOnly: true }],
  ['type=ssh', { type: 'ssh' }],
];

for (const [text, expected] of MOUNTS) {
  test(`a mount is parsed: ${text}`, () => {
    assert.deepEqual(parseMount(text, substitution), { ...NO_MOUNT, ...expected });
  });
}

const MOUNT_FAULTS = [
  'type=cache',
  'type=nothing,target=/a',
  'target=/a,bogus=1',
  'type=bind,target=/a,sharing=locked',
  'type=secret',
  'type=secret,id=a,from=b',
  'type=secret,id=a,env=1x',
  'type=tmpfs,target=/a,size=x',
  'type=cache,target=/a,mode=9',
  'target',
  'target=/a,dst=/b',
  '"target=/a',
];

for (const text of MOUNT_FAULTS) {
  test(`a wrong mount is refused: ${text}`, () => assert.throws(() => parseMount(text, substitution), atLine(4)));
}

const MODES: readonly (readonly [change: string, mode: number, directory: boolean, expected: number])[] = [
  ['755', 0o644, false, 0o755],
  ['4755', 0o644, false, 0o4755],
  ['u+x', 0o644, false, 0o744],
  ['+x', 0o644, false, 0o755],
  ['a-w', 0o666, false, 0o444],
  ['u=rwX,go=rX', 0o600, false, 0o644],
  ['u=rwX,go=rX', 0o600, true, 0o755],
  ['u=rwX,go=rX', 0o711, false, 0o755],
  ['g=u', 0o640, false, 0o660],
  ['u+s,+t', 0o755, false, 0o5755],
  ['o=', 0o777, false, 0o770],
  ['u+r-x', 0o300, false, 0o600],
];

for (const [change, mode, directory, expected] of MODES) {
  test(`a mode is changed: ${change} of ${mode.toString(8)}`, () => {
    assert.equal(parseChmod(change, 1)(mode, directory).toString(8), expected.toString(8));
  });
}

test('a wrong mode is refused', () => {
  for (const text of ['', '888', '77777', 'u', 'x+r', 'u+q', 'u+x,']) {
    assert.throws(() => parseChmod(text, 3), atLine(3));
  }
});

const FILE = `ARG BASE=one
ARG TAG=\${BASE}-slim
FROM image:$TAG AS base
FROM base AS Left
COPY --from=3 a b
FROM scratch AS unused
FROM 0
FROM left AS right
RUN --mount=type=bind,from=unused2,target=/x true
FROM --platform=$BUILDPLATFORM right AS last
`;

test('only the stages that a target is made from are built', () => {
  const file = parseDockerfile(FILE);
  const given = { build: new Map([['BASE', 'two']]), platform: new Map([['BUILDPLATFORM', 'linux/amd64']]) };
  const globals = globalScope(file.globalArgs, given, file.escape);
  const last = planStages(file, undefined, globals);
  assert.equal(last.target, 5);
  assert.deepEqual([...last.needed.keys()], [0, 1, 4, 5], 'COPY --from=3 is a later stage, so it is an image');
  assert.deepEqual(last.needed.get(0)?.base, { kind: 'image', source: 'image:two-slim' });
  assert.deepEqual(last.needed.get(1)?.base, { kind: 'stage', stage: 0 });
  assert.equal(last.needed.get(5)?.platform, 'linux/amd64');
  assert.deepEqual([...planStages(file, 'BASE', globals).needed.keys()], [0]);
  const [, , , right] = file.stages;
  assert.ok(right);
  assert.deepEqual(planStage(file, right, globals).base, { kind: 'image', source: '0' });
  assert.throws(() => planStages(file, 'nope', globals), atLine(1, /no stage "nope"; it has base, left/u));
  assert.throws(() => planStages(parseDockerfile('FROM $NO'), undefined, globals), atLine(1, /names no image/u));
});

test('the arguments before the first stage share one bound of work, and so do all bases', () => {
  const args = parseDockerfile(`${`ARG ${'a=${b#c} '.repeat(20)}\n`.repeat(50)}FROM a`);
  const none = { build: new Map(), platform: new Map() };
  assert.throws(() => globalScope(args.globalArgs, none, args.escape), { code: 'DOCKERFILE_INVALID' });
  const bases = parseDockerfile(`FROM ${'${a:-b}'.repeat(300)} AS last\n`.repeat(limits.dockerfileStagesMax));
  const chain = parseDockerfile(
    Array.from({ length: 60 }, (_, at) => `FROM ${at === 0 ? 'a' : `s${at - 1}${'${no}'.repeat(400)}`} AS s${at}`).join(
      '\n',
    ),
  );
  assert.equal(planStages(bases, undefined, new Map()).needed.size, 1, 'only what is needed counts');
  assert.throws(() => planStages(chain, undefined, new Map()), { code: 'DOCKERFILE_INVALID' });
});

test('arguments have the scope of their stage, and the environment is over them', () => {
  const file = parseDockerfile('ARG G=global\nFROM a\nARG G\nARG D=default\nARG O=$D-x\nARG P\nARG N=1\nARG N');
  const given = {
    build: new Map([
      ['O', 'own'],
      ['http_proxy', 'p'],
    ]),
    platform: new Map([['TARGETARCH', 'amd64']]),
  };
  const consumed = new Set<string>();
  const scope = new StageScope(given, globalScope(file.globalArgs, given, file.escape), file.escape, consumed);
  assert.deepEqual(scope.argsOfRun({}), {}, 'nothing is in effect before its ARG');
  for (const instruction of file.stages[0]?.instructions ?? []) {
    if (instruction.kind === 'ARG') scope.declare(instruction, { D: 'env' });
  }
  assert.deepEqual(scope.argsOfRun({ D: 'env' }), { G: 'global', O: 'own', N: '1' });
  assert.deepEqual(scope.proxyArgs({}), { http_proxy: 'p' });
  assert.equal(scope.substitution(1, { D: 'env' }).variables.get('D'), 'env');
  assert.deepEqual([...consumed], ['G', 'D', 'O', 'P', 'N']);
});

test('a hostile Dockerfile is parsed or refused, whatever is in it', () => {
  const words =
    'FROM a|RUN |COPY |ENV |ONBUILD |ARG |--x=|--mount=|<<E|E\n|\\\n|\n|"|\'|[|]|${a:-|}|$|`|# escape=`\n|=| |\r\n|\0|é|,';
  const pieces = [...words.split('|'), '\uFEFF', '\uD800'];
  const piece = fc.constantFrom(...pieces);
  const text = fc.array(fc.oneof({ weight: 4, arbitrary: piece }, fc.string({ maxLength: 8 })), { maxLength: 40 });
  fc.assert(
    fc.property(text, (chosen) => {
      try {
        parseDockerfile(chosen.join(''));
      } catch (error) {
        if (!isFault(error, 'DOCKERFILE_INVALID')) throw error;
      }
    }),
    { seed: 16, numRuns: 1_000 },
  );
});
