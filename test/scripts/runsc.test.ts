import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtempDisposable, readdir, stat, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { zstdCompressSync } from 'node:zlib';
import { provideRunsc, RUNSC_PINS, type RunscPins, type RunscSource } from '../../scripts/guest/runsc.ts';
import { tarOf } from '../support/tar.ts';

/** A runsc of this version that can do what the driver asks of it, or cannot. */
function runsc(version: string, able = true): string {
  return `#!/bin/sh\n[ "$1" = --version ] && { echo "runsc version ${version}"; exit; }\nexit ${able ? 0 : 1}\n`;
}

const RELEASE = zstdCompressSync(
  tarOf([
    { path: './runsc', content: runsc('release-20260921.0'), mode: 0o755 },
    { path: './gvisor-bin', flag: '5', mode: 0o755 },
    { path: './gvisor-bin/gvisor_sentry', content: 'sentry', mode: 0o755 },
    { path: './gvisor-bin/checkpointgofer', content: 'of no use here', mode: 0o755 },
  ]),
);

/** A machine that is made of these programs only, with a server of releases. */
interface Machine extends AsyncDisposable {
  readonly folder: string;
  readonly pins: RunscPins;
  readonly said: string[];
  provide(changes?: {
    readonly pins?: RunscPins;
    readonly systemAllowed?: boolean;
    readonly buildAllowed?: boolean;
  }): Promise<RunscSource>;
}

async function machine(programs: Readonly<Record<string, string>>, release?: Buffer): Promise<Machine> {
  await using stack = new AsyncDisposableStack();
  const scratch = stack.use(await mkdtempDisposable(join(tmpdir(), 'contree-runsc-')));
  const bin = join(scratch.path, 'bin');
  await mkdir(bin);
  await symlink('/bin/sh', join(bin, 'sh'));
  for (const [name, script] of Object.entries(programs)) {
    await writeFile(join(bin, name), script);
    await chmod(join(bin, name), 0o755);
  }
  const path = process.env['PATH'];
  process.env['PATH'] = bin;
  stack.defer(() => void (process.env['PATH'] = path));
  const server = createServer((_request, response) => response.writeHead(release ? 200 : 404).end(release));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  stack.defer(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const sha512 = createHash('sha512').update(RELEASE).digest('hex');
  const pins = { ...RUNSC_PINS, release: { name: 'release', url: `http://127.0.0.1:${port}/gvisor.tar.zstd`, sha512 } };
  const folder = join(scratch.path, 'dist');
  const said: string[] = [];
  const resources = stack.move();
  return {
    folder,
    pins,
    said,
    provide: (changes = {}) =>
      provideRunsc({
        folder,
        pins,
        systemAllowed: true,
        buildAllowed: true,
        say: (line) => void said.push(line),
        ...changes,
      }),
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

/** A Go that can download the module with this checksum, or has it (`cached`), and builds a runsc that says how it was built. */
function go(sum: string, cached = false): string {
  return [
    '#!/bin/sh',
    'case "$1" in',
    '  version) echo "go version go1.26.8 linux/amd64" ;;',
    `  mod) [ "$GOPROXY" != off ] || ${cached} || { echo module lookup disabled >&2; exit 1; }; echo '{"Sum": "${sum}"}' ;;`,
    `  install) printf '%s' '${runsc('VERSION')}' > "$GOBIN/runsc"; /bin/sed -i "s/VERSION/\${5##*@}/" "$GOBIN/runsc"; /bin/chmod 755 "$GOBIN/runsc" ;;`,
    'esac',
  ].join('\n');
}

/** An apt whose package of runsc is this one. */
function apt(script: string): Readonly<Record<string, string>> {
  return {
    'apt-get': '#!/bin/sh\necho > runsc.deb\n',
    'dpkg-deb': `#!/bin/sh\n/bin/mkdir -p usr/bin && /bin/cat > usr/bin/runsc <<'END'\n${script}END\n`,
  };
}

test('a runsc of the system that is new enough is used as it is', async () => {
  for (const version of ['release-20260824.0', 'v0.0.0-20260905035102-160fafc42237']) {
    await using here = await machine({ runsc: runsc(version), go: go(RUNSC_PINS.module.sum) }, RELEASE);
    assert.equal(await here.provide(), 'system');
    assert.ok(!existsSync(here.folder));
    assert.deepEqual(here.said, [`the runsc of this system is used: ${version}`]);
  }
});

test('an old, an unknown or a broken runsc of the system is passed over, and so is any for a package', async () => {
  const programs = [runsc('release-20230104.0'), runsc('VERSION_MISSING'), '#!/bin/sh\nexit 3\n'];
  for (const program of programs) {
    await using here = await machine({ runsc: program }, RELEASE);
    assert.equal(await here.provide(), 'release');
    assert.match(here.said[0] ?? '', /^a runsc of this system is not used: /u);
  }
  await using packed = await machine({ runsc: runsc('release-20260921.0') }, RELEASE);
  assert.equal(await packed.provide({ systemAllowed: false }), 'release');
});

test('the release brings the programs that runsc starts, and is left alone until the pins change', async () => {
  await using here = await machine({}, RELEASE);
  assert.equal(await here.provide(), 'release');
  assert.deepEqual((await readdir(here.folder)).toSorted(), ['gvisor-bin', 'runsc', 'runsc.json']);
  assert.deepEqual(await readdir(join(here.folder, 'gvisor-bin')), ['gvisor_sentry']);
  assert.equal((await stat(join(here.folder, 'runsc'))).mode & 0o777, 0o755);
  assert.match(here.said.at(-1) ?? '', /^made .*\(release-20260921\.0\)$/u);
  assert.equal(await here.provide(), 'kept');
  assert.equal(
    await here.provide({ pins: { ...here.pins, release: { ...here.pins.release, name: 'another' } } }),
    'release',
  );
});

test('a release with another checksum is refused; the module is built', async () => {
  const changed = Buffer.concat([RELEASE, RELEASE]);
  await using here = await machine({ go: go(RUNSC_PINS.module.sum) }, changed);
  assert.equal(await here.provide(), 'module');
  assert.ok(
    here.said.some((line) => /release is not used: .*sha512/u.test(line)),
    here.said.join('\n'),
  );
  assert.equal(here.said.at(-1), `made ${join(here.folder, 'runsc')} (${RUNSC_PINS.module.version})`);
  assert.deepEqual((await readdir(here.folder)).toSorted(), ['runsc', 'runsc.json']);
});

test("a module with another checksum is refused; Debian's package is used if it passes its trial", async () => {
  await using here = await machine({ go: go('h1:other'), ...apt(runsc('0.0~20261010.0')) });
  assert.equal(await here.provide(), 'debian');
  assert.ok(
    here.said.some((line) => line.includes('has the checksum h1:other')),
    here.said.join('\n'),
  );
  assert.deepEqual((await readdir(here.folder)).toSorted(), ['runsc', 'runsc.json']);
});

test('where nothing may be downloaded for a build, a release is taken, what Go has is built, or the line says which command builds one', async () => {
  const programs = { go: go(RUNSC_PINS.module.sum) };
  await using downloaded = await machine(programs, RELEASE);
  assert.equal(await downloaded.provide({ buildAllowed: false }), 'release');
  await using here = await machine(programs);
  assert.equal(await here.provide({ buildAllowed: false }), 'none');
  assert.match(here.said.at(-1) ?? '', /emulated, which is slow: scripts\/setup builds one in some minutes$/u);
  assert.deepEqual(await readdir(here.folder), []);
  assert.equal(await here.provide(), 'module');
  await using warm = await machine({ go: go(RUNSC_PINS.module.sum, true) });
  assert.equal(await warm.provide({ buildAllowed: false }), 'module', 'Go has its sources');
});

test('where nothing works, one line says what would help, and nothing is left', async () => {
  const machines = [{}, apt(runsc('0.0~20221219.0', false)), { go: '#!/bin/sh\nexit 1\n' }];
  for (const programs of machines) {
    await using here = await machine(programs);
    assert.equal(await here.provide(), 'none');
    assert.match(here.said.at(-1) ?? '', /emulated, which is slow: install gVisor/u);
    assert.deepEqual(await readdir(here.folder), []);
  }
});
