import assert from 'node:assert/strict';
import type { FileItem, GrepMatch, GrepResult } from '../../../src/contract/inspect.ts';
import type { Answer } from '../../support/servers/http-server.ts';
import type { Here, Statement } from './here.ts';

const NOWHERE = '6f9619ff-8b86-4d01-b42d-00cf4fc964ff';

function look({ send, image }: Here, what: string, method = 'GET'): Promise<Answer> {
  return send(method, `/v1/inspect/${image}/${what}`);
}

async function items(here: Here, path: string): Promise<Map<string, FileItem>> {
  const { files } = (await look(here, `list?path=${path}`)).json as { files: FileItem[] };
  return new Map(files.map((item) => [item.path, item]));
}

async function found(here: Here, query: string): Promise<GrepResult> {
  const { status, json } = await look(here, `grep?${query}`);
  assert.equal(status, 200, query);
  return json as GrepResult;
}

function paths({ matches }: { readonly matches: readonly GrepMatch[] }): string[] {
  return matches.map(({ path }) => path);
}

const FILES: readonly Statement[] = [
  [
    'redirects',
    'paths without their slash redirect with 307 to the one with it',
    async (here) => {
      for (const path of ['inspect', `inspect/${here.image}`]) {
        const { status, headers } = await here.send('GET', `/v1/${path}`);
        assert.equal(status, 307, path);
        const target = new URL(headers.location ?? '', `http://host/v1/${path}`);
        assert.equal(target.pathname, `/v1/${path}/`);
      }
    },
  ],
  [
    'find by tag',
    'a tag redirects with 302 to its image; none given is a 400, an unknown one a 404',
    async (here) => {
      await here.send('PATCH', `/v1/images/${here.image}/tag`, { body: { tag: 'found:1' } });
      const { status, headers } = await here.send('GET', '/v1/inspect/?tag=found:1');
      assert.deepEqual([status, headers.location], [302, `${here.image}/`]);
      assert.equal((await here.send('GET', '/v1/inspect/')).status, 400);
      assert.equal((await here.send('GET', '/v1/inspect/?tag=lost')).status, 404);
    },
  ],
  [
    'image info',
    'an image has its UUID, time, tag and the operation that created it, null where none did',
    async (here) => {
      const { json } = await look(here, '');
      assert.partialDeepStrictEqual(json, { uuid: here.image, operation_uuid: null });
    },
  ],
  [
    'list',
    'a directory is listed with names, owners, modes, times and kinds',
    async (here) => {
      const files = await items(here, '/srv');
      const { mtime, ...link } = files.get('link') ?? {};
      assert.deepEqual(
        [mtime, link],
        [
          1_700_000_000,
          {
            size: 5,
            path: 'link',
            owner: 'root',
            group: 'root',
            uid: 0,
            gid: 0,
            mode: 0o120777,
            nlink: 1,
            is_dir: false,
            is_regular: false,
            is_symlink: true,
            is_socket: false,
            is_fifo: false,
            symlink_to: 'a.txt',
          },
        ],
      );
      assert.ok(files.get('pipe')?.is_fifo && files.get('deep')?.is_dir && files.get('a.txt')?.is_regular);
      assert.equal(files.get('a.txt')?.symlink_to, '');
    },
  ],
  [
    'list text',
    'text, with or without a value, lists as ls does, with a total',
    async (here) => {
      for (const query of ['text', 'text=', 'text=1', 'text=true']) {
        const { headers, text } = await look(here, `list?path=/srv&${query}`);
        assert.match(headers['content-type'] ?? '', /^text\/plain/u, query);
        assert.match(text, /^total [\d.]+ KB\n[\s\S]*^-rw-r--r-- 1 \S+ \S+ +\d+ .* a\.txt$/mu);
      }
    },
  ],
  [
    'download',
    'a file is bytes, with text it is text; HEAD says whether it is there',
    async (here) => {
      const bytes = await look(here, 'download?path=/srv/a.txt');
      assert.deepEqual([bytes.headers['content-type'], bytes.text.slice(0, 4)], ['application/octet-stream', 'one\n']);
      const text = await look(here, 'download?path=/srv/a.txt&text');
      assert.match(text.headers['content-type'] ?? '', /^text\/plain/u);
      assert.equal((await look(here, 'download?path=/srv/a.txt', 'HEAD')).status, 200);
    },
  ],
  [
    'archive',
    'a directory is the root of the archive, a file its only entry; the name is the path with _ for /',
    async (here) => {
      const directory = await look(here, 'archive?path=/srv/deep');
      assert.equal(directory.headers['content-type'], 'application/x-tar');
      assert.equal(directory.headers['content-disposition'], 'attachment; filename="srv_deep.tar"');
      assert.match(directory.text, /deep\/b\.conf/u);
      assert.ok(!directory.text.includes('srv/deep'));
      const file = await look(here, 'archive?path=/srv/deep/b.conf');
      assert.ok(file.text.includes('b.conf') && !file.text.includes('deep'));
      for (const path of ['/srv/deep', '/srv/a.txt', '/'])
        assert.equal((await look(here, `archive?path=${path}`, 'HEAD')).status, 200);
    },
  ],
  [
    'wrong paths',
    'no path is a 400, a missing one a 404, one of another kind a 422',
    async (here) => {
      for (const [method, what, other] of [
        ['GET', 'list', '/srv/a.txt'],
        ['GET', 'download', '/srv'],
        ['HEAD', 'download', '/srv'],
        ['GET', 'archive', '/srv/pipe'],
        ['HEAD', 'archive', '/srv/pipe'],
      ] as const) {
        assert.equal((await look(here, what, method)).status, 400, `${method} ${what}`);
        assert.equal((await look(here, `${what}?path=/none`, method)).status, 404, `${method} ${what}`);
        assert.equal((await look(here, `${what}?path=${other}`, method)).status, 422, `${method} ${what}`);
        const { status } = await here.send(method, `/v1/inspect/${NOWHERE}/${what}?path=/`);
        assert.equal(status, 404, `${method} ${what}`);
      }
    },
  ],
];

const GREP: readonly Statement[] = [
  [
    'grep',
    'hidden files are searched, binary ones are not, ignore files do not count, symlinks are not followed',
    async (here) => {
      const result = await found(here, 'pattern=needle&path=/srv');
      assert.deepEqual(paths(result), ['/srv/.hidden', '/srv/a.txt', '/srv/deep/b.conf', '/srv/long']);
      assert.deepEqual([result.path, result.patterns, result.truncated], ['/srv', ['needle'], false]);
    },
  ],
  [
    'grep place',
    'a match has its line, number, offset, bytes and submatches',
    async (here) => {
      const [match] = (await found(here, 'pattern=eed&path=/srv/a.txt')).matches;
      assert.deepEqual(match, {
        path: '/srv/a.txt',
        line_number: 2,
        absolute_offset: 4,
        line_text: 'needle a\n',
        line_bytes: 9,
        submatches: [{ text: 'eed', start: 1, end: 4 }],
        type: 'match',
      });
    },
  ],
  [
    'grep long lines',
    'a line is shown up to 4096 bytes, with its real length',
    async (here) => {
      const [match] = (await found(here, 'pattern=needle&path=/srv/long')).matches;
      assert.deepEqual([match?.line_text.length, match?.line_bytes], [4_096, 8_193]);
    },
  ],
  [
    'grep patterns, paths, globs',
    'patterns are alternatives, paths are searched in their order, globs filter and ! excludes',
    async (here) => {
      const several = await found(here, 'pattern=hidden&pattern=needle%20b&path=/srv/deep&path=/srv/.hidden');
      assert.deepEqual([several.path, paths(several)], ['/srv/deep', ['/srv/deep/b.conf', '/srv/.hidden']]);
      assert.deepEqual(paths(await found(here, 'pattern=needle&glob=*.conf')), ['/srv/deep/b.conf']);
      assert.ok(!paths(await found(here, 'pattern=needle&glob=!*.conf')).includes('/srv/deep/b.conf'));
      assert.equal((await found(here, 'pattern=nothing%20here')).path, '/');
    },
  ],
  [
    'grep case',
    'case is sensitive, insensitive or smart',
    async (here) => {
      const count = async (query: string): Promise<number> =>
        (await found(here, `path=/srv/a.txt&${query}`)).matches.length;
      assert.deepEqual(
        [
          await count('pattern=needle'),
          await count('pattern=needle&case=insensitive'),
          await count('pattern=needle&case=smart'),
          await count('pattern=NEEDLE&case=smart'),
        ],
        [1, 2, 2, 1],
      );
      assert.equal((await look(here, 'grep?pattern=x&case=loud')).status, 400);
    },
  ],
  [
    'grep context and counts',
    'before and after add context lines; max_count is per file, max_total of all, and says that it cut',
    async (here) => {
      const { matches } = await found(here, 'pattern=needle&path=/srv/a.txt&before=1&after=1');
      assert.deepEqual(
        matches.map(({ type, line_text: line, submatches }) => [type, line, submatches.length]),
        [
          ['context', 'one\n', 0],
          ['match', 'needle a\n', 1],
          ['context', 'NEEDLE A\n', 0],
        ],
      );
      const lines = 'pattern=needle&case=insensitive&path=/srv';
      assert.equal(paths(await found(here, `${lines}&max_count=1`)).filter((path) => path.endsWith('a.txt')).length, 1);
      const cut = await found(here, `${lines}&max_total=2`);
      assert.deepEqual([cut.matches.length, cut.truncated], [2, true]);
    },
  ],
  [
    'grep bounds',
    '16 patterns of 1024 characters, 16 paths, 10000 matches, 50 lines of context',
    async (here) => {
      const times = (part: string, count: number): string => part.repeat(count);
      for (const query of [
        `path=/srv${times('&pattern=x', 16)}`,
        `pattern=x${times('&path=/srv', 16)}`,
        `pattern=${times('x', 1_024)}`,
        'pattern=x&max_count=10000&max_total=10000&before=50&after=50',
      ])
        assert.equal((await look(here, `grep?${query}`)).status, 200, query.slice(0, 80));
      for (const query of [
        `path=/srv${times('&pattern=x', 17)}`,
        `pattern=x${times('&path=/srv', 17)}`,
        `pattern=${times('x', 1_025)}`,
        'pattern=x&max_count=10001',
        'pattern=x&max_count=0',
        'pattern=x&max_total=10001',
        'pattern=x&max_total=0',
        'pattern=x&before=51',
        'pattern=x&after=51',
        'pattern=x&after=-1',
        'path=/srv',
      ])
        assert.equal((await look(here, `grep?${query}`)).status, 400, query.slice(0, 80));
    },
  ],
  [
    'grep expressions',
    'expressions are those of Rust without look-around; a missing path is a 404',
    async (here) => {
      assert.equal((await found(here, 'pattern=%5En%5Cw%2B%20a%24&path=/srv/a.txt')).matches.length, 1);
      for (const pattern of ['(%3F%3Dx)', '(x', '(x)%5C1'])
        assert.equal((await look(here, `grep?pattern=${pattern}`)).status, 400, pattern);
      assert.equal((await look(here, 'grep?pattern=x&path=/none')).status, 404);
      assert.equal((await here.send('GET', `/v1/inspect/${NOWHERE}/grep?pattern=x`)).status, 404);
    },
  ],
];

export const INSPECT_STATEMENTS: readonly Statement[] = [...FILES, ...GREP];
