import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { command } from '../../scripts/support/command.ts';
import type { Built } from './buildah.ts';
import type { BuildCase } from './corpus.ts';
import { configLines, readTree } from './tree.ts';

const PROGRAM = new URL('../../bin/contree', import.meta.url).pathname;
const TIMEOUT_MS = 300_000;

/** The command line over an engine with a data directory of its own. */
export class Contree implements AsyncDisposable {
  readonly #folder: string;
  readonly #env: NodeJS.ProcessEnv;

  constructor(folder: string) {
    this.#folder = folder;
    this.#env = { ...process.env, CONTREE_DATA_DIR: join(folder, 'data') };
  }

  async run(args: readonly string[], cwd?: string): Promise<string> {
    return await command(PROGRAM, args, { timeout: TIMEOUT_MS, env: this.#env, ...(cwd && { cwd }) });
  }

  /** Builds a case and reads its result. */
  async built({ name, context, options }: BuildCase): Promise<Built> {
    const started = performance.now();
    const tag = `case-${name}`;
    await this.run(['build', '-t', tag, ...options, '.'], context);
    const seconds = (performance.now() - started) / 1_000;
    const root = join(this.#folder, 'root');
    await rm(root, { recursive: true, force: true });
    await mkdir(root);
    const tar = join(this.#folder, 'root.tar');
    await this.run(['cp', `${tag}:/`, tar]);
    await command('tar', ['--numeric-owner', '-xpf', tar, '-C', root]);
    return { tree: await readTree(root), config: await this.#config(tag), seconds };
  }

  /** Returns the configuration as other tools see it: that of the exported image. */
  async #config(tag: string): Promise<ReadonlyMap<string, string>> {
    const layout = join(this.#folder, 'layout.tar');
    await this.run(['export', tag, '-o', layout]);
    const read = async (path: string): Promise<unknown> => JSON.parse(await command('tar', ['-xOf', layout, path]));
    const blob = (digest: string): string => `blobs/${digest.replace(':', '/')}`;
    const index = (await read('index.json')) as { manifests: [{ digest: string }] };
    const manifest = (await read(blob(index.manifests[0].digest))) as { config: { digest: string } };
    const image = (await read(blob(manifest.config.digest))) as { config: Record<string, unknown> };
    return configLines(image.config);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.run(['engine', 'stop']).catch(() => undefined);
  }
}
