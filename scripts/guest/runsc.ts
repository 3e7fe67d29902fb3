import { createReadStream, createWriteStream, existsSync } from 'node:fs';
import { chmod, copyFile, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { createHash } from 'node:crypto';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { OLDEST_RUNSC, searchRunsc } from '../../src/sandbox/gvisor/runsc.ts';
import { decompress } from '../../src/tar/compression.ts';
import { TarReader } from '../../src/tar/reader.ts';
import { command } from '../support/command.ts';

/** Versions of runsc (gVisor) that are used, with their checksums. */
export interface RunscPins {
  /** Archive with runsc and the programs it starts; the sha512 is that of the compressed file. */
  readonly release: { readonly name: string; readonly url: string; readonly sha512: string };
  /** Go module, with the checksum that `go mod download -json` reports. */
  readonly module: { readonly path: string; readonly version: string; readonly sum: string };
}

export const RUNSC_PINS: RunscPins = {
  release: {
    name: 'release-20260921.0',
    url: 'https://storage.googleapis.com/gvisor/releases/release/20260921.0/x86_64/gvisor.tar.zstd',
    sha512:
      '66a5b17354690ec2e4037b54080eeabde55a1503779ceb823d73856283a68369' +
      '53e105493d7e38fb2dcf85e5c86e0f48c66a9abb0244a78bd612df938702475c',
  },
  module: {
    path: 'gvisor.dev/gvisor',
    version: 'v0.0.0-20260905035102-160fafc42237',
    sum: 'h1:AU5+CtCvnBnxdZRNcZt1NfSLqgkXZVT3N/u6u1aXg44=',
  },
};

/** Sources of a runsc, in the order in which they are tried; `kept` is one that an earlier call put there. */
export type RunscSource = 'system' | 'kept' | 'release' | 'module' | 'debian' | 'none';

export interface RunscOptions {
  /** Folder that gets `runsc` and, with a release, `gvisor-bin/`. */
  readonly folder: string;
  readonly pins: RunscPins;
  /** True where a runsc of the system is enough. It is not for a package that others install. */
  readonly systemAllowed: boolean;
  /** True where the Go module may be downloaded for a build, which takes minutes; otherwise it is built only if Go has it. */
  readonly buildAllowed: boolean;
  readonly say: (line: string) => void;
}

/** Members of the release that are kept; the others are for containerd, metrics and checkpoints. */
const RELEASE_FILES = ['runsc', 'gvisor-bin/gvisor_sentry', 'gvisor-bin/gvisor-sentry-prewarmer'];
/** A server that has not answered by then is taken as unreachable: setup must not wait for it. */
const ANSWER_MS_MAX = 5_000;
const DOWNLOAD_MS_MAX = 600_000;
const BUILD_MS_MAX = 900_000;
const TRIAL_MS_MAX = 30_000;
const UNPACKED_BYTES_MAX = 1024 ** 3;
/** Names what was put into the folder, so that the next call leaves it alone unless the pins have changed. */
const RECORD = 'runsc.json';

/**
 * Makes sure that there is a runsc: the system's own if it is new enough and runs a program, else gVisor's release, else a build
 * of its Go module, else Debian's package if it passes a trial. Says what it did, and never fails: without one microVMs do its
 * work.
 */
export async function provideRunsc(options: RunscOptions): Promise<RunscSource> {
  const { folder, pins, systemAllowed, buildAllowed, say } = options;
  const system = systemAllowed ? await systemRunsc(say) : undefined;
  if (system !== undefined) {
    say(`the runsc of this system is used: ${system}`);
    return 'system';
  }
  if (await isKept(folder, pins)) {
    say('up to date');
    return 'kept';
  }
  const sources = {
    release: fromRelease,
    module: buildAllowed ? fromModule : fromCachedModule,
    debian: fromDebian,
  } as const;
  for (const [source, make] of Object.entries(sources)) {
    try {
      const version = await install(options, source, make);
      say(`made ${join(folder, 'runsc')} (${version})`);
      return source as keyof typeof sources;
    } catch (error) {
      say(`${reasons[source as keyof typeof sources]}: ${lastLine(error)}`);
    }
  }
  const build = !buildAllowed && (await hasGo());
  const next = build ? 'scripts/setup builds one in some minutes' : NEXT_STEP;
  say(`there is none, so where KVM does not run microVMs are emulated, which is slow: ${next}`);
  return 'none';
}

const NEXT_STEP =
  'install gVisor (https://gvisor.dev/docs/user_guide/install/) or Go 1.21, and run scripts/setup again';

async function hasGo(): Promise<boolean> {
  return command('go', ['version']).then(
    () => true,
    () => false,
  );
}

const reasons = {
  release: "gVisor's release is not used",
  module: 'its Go module is not built',
  debian: "Debian's package is not used",
} as const;

type Maker = (pins: RunscPins, folder: string, say: (line: string) => void) => Promise<void>;

/** Makes a runsc beside the folder and moves it there when it runs. Returns its version. */
async function install({ folder, pins, say }: RunscOptions, source: string, make: Maker): Promise<string> {
  await mkdir(folder, { recursive: true });
  const staged = await mkdtemp(join(folder, 'runsc-'));
  try {
    await make(pins, staged, say);
    const version = await versionOf(join(staged, 'runsc'));
    // The record goes first and comes last: a folder that was filled halfway has none.
    for (const name of [RECORD, 'gvisor-bin', 'runsc']) await rm(join(folder, name), { recursive: true, force: true });
    for (const name of ['gvisor-bin', 'runsc']) {
      if (existsSync(join(staged, name))) await rename(join(staged, name), join(folder, name));
    }
    await writeFile(join(folder, RECORD), `${JSON.stringify({ source, version, pins: keyOf(pins) })}\n`);
    return version;
  } finally {
    await rm(staged, { recursive: true, force: true });
  }
}

function keyOf(pins: RunscPins): string {
  return createHash('sha256')
    .update(JSON.stringify({ oldest: OLDEST_RUNSC, ...pins }))
    .digest('hex');
}

async function isKept(folder: string, pins: RunscPins): Promise<boolean> {
  try {
    const record = JSON.parse(await readFile(join(folder, RECORD), 'utf8')) as { readonly pins?: string };
    return record.pins === keyOf(pins) && existsSync(join(folder, 'runsc'));
  } catch {
    return false;
  }
}

/** Returns the version that a runsc tells of itself; rejects when it does not run. */
async function versionOf(program: string): Promise<string> {
  const said = await command(program, ['--version'], { timeout: TRIAL_MS_MAX });
  const version = /^runsc version (\S+)/mu.exec(said)?.[1];
  if (version === undefined) throw new Error(`${program} does not tell its version`);
  return version;
}

/** Returns the version of the runsc in PATH that the driver will use; undefined where none runs programs. */
async function systemRunsc(say: (line: string) => void): Promise<string | undefined> {
  const { found, rejected } = await searchRunsc({ path: process.env['PATH'] ?? '' }, new AbortController().signal);
  for (const reason of rejected) say(`a runsc of this system is not used: ${reason}`);
  if (found === undefined) return undefined;
  try {
    await runTrue(found.path);
    return found.version;
  } catch (error) {
    say(`a runsc of this system is not used: ${found.path} runs no program: ${lastLine(error)}`);
    return undefined;
  }
}

async function fromRelease({ release }: RunscPins, folder: string, say: (line: string) => void): Promise<void> {
  const answer = new AbortController();
  const timer = setTimeout(() => answer.abort(new Error(`no answer from ${new URL(release.url).host}`)), ANSWER_MS_MAX);
  const signal = AbortSignal.any([answer.signal, AbortSignal.timeout(DOWNLOAD_MS_MAX)]);
  const response = await fetch(release.url, { signal }).finally(() => clearTimeout(timer));
  if (!response.ok || response.body === null) throw new Error(`${release.url} answered ${response.status}`);
  say(`downloading ${release.name}`);
  const archive = join(folder, 'archive');
  const hash = createHash('sha512');
  await pipeline(
    Readable.fromWeb(response.body),
    async function* hashed(chunks: AsyncIterable<Uint8Array>) {
      for await (const chunk of chunks) {
        hash.update(chunk);
        yield chunk;
      }
    },
    createWriteStream(archive),
  );
  if (hash.digest('hex') !== release.sha512) throw new Error(`${release.url} is not the file it should be (sha512)`);
  await unpack(archive, folder);
}

async function unpack(archive: string, folder: string): Promise<void> {
  const plain = decompress(createReadStream(archive), { limit: UNPACKED_BYTES_MAX, what: 'bytes' });
  const reader = new TarReader(plain);
  for (let entry = await reader.next(); entry !== undefined; entry = await reader.next()) {
    const path = entry.path.replace(/^\.\//u, '');
    if (entry.type !== 'file' || !RELEASE_FILES.includes(path)) continue;
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await pipeline(reader.content(), createWriteStream(join(folder, path), { mode: 0o755 }));
  }
}

/** Builds the module where Go has downloaded it before. Mostly Go has built it before, too, and takes seconds now. */
async function fromCachedModule(pins: RunscPins, folder: string, say: (line: string) => void): Promise<void> {
  const { path, version } = pins.module;
  await command('go', ['version']);
  const offline = { env: { ...process.env, GOPROXY: 'off' }, timeout: DOWNLOAD_MS_MAX };
  await command('go', ['mod', 'download', `${path}@${version}`], offline).catch(() => {
    throw new Error('Go has not downloaded it yet');
  });
  await fromModule(pins, folder, say);
}

async function fromModule({ module }: RunscPins, folder: string, say: (line: string) => void): Promise<void> {
  const { path, version, sum } = module;
  await command('go', ['version']);
  say(`building ${path}@${version} with Go, which takes some minutes the first time`);
  const downloaded = await command('go', ['mod', 'download', '-json', `${path}@${version}`], { timeout: BUILD_MS_MAX });
  const found = JSON.parse(downloaded) as { readonly Sum?: string };
  if (found.Sum !== sum) throw new Error(`the module has the checksum ${found.Sum}, not ${sum}`);
  const flags = ['-trimpath', '-ldflags', `-s -w -X ${path}/runsc/version.version=${version}`];
  const env = { ...process.env, GOBIN: folder, CGO_ENABLED: '0' };
  await command('go', ['install', ...flags, `${path}/runsc@${version}`], { env, timeout: BUILD_MS_MAX });
}

/** Runs a program in a sandbox the way the driver will. */
async function runTrue(runsc: string): Promise<void> {
  const flags = ['--rootless', '--platform=systrap', '--network=none'];
  await command(runsc, [...flags, 'do', 'true'], { timeout: TRIAL_MS_MAX });
}

/** Debian's may be years old, so it is used only if it can run a program the way the driver will. */
async function fromDebian(_pins: RunscPins, folder: string): Promise<void> {
  const unpacked = join(folder, 'debian');
  await mkdir(unpacked);
  const options = ['-qq', '-o', 'APT::Sandbox::User=root'];
  await command('apt-get', [...options, 'download', 'runsc'], { cwd: unpacked, timeout: DOWNLOAD_MS_MAX });
  await command('sh', ['-c', 'dpkg-deb -x *.deb .'], { cwd: unpacked });
  const program = join(folder, 'runsc');
  await copyFile(join(unpacked, 'usr/bin/runsc'), program);
  await chmod(program, 0o755);
  await runTrue(program);
}

/** The last line of what a program printed is the one that says why. */
function lastLine(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  const cause = error instanceof Error && error.cause instanceof Error ? ` (${error.cause.message})` : '';
  return `${text.trim().split('\n').at(-1) ?? text}${cause}`;
}
