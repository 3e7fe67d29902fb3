import { join } from 'node:path';
import { command } from '../../scripts/support/command.ts';
import { configOf } from '../../src/cli/history/image-config.ts';
import { clientOfSocket } from '../support/client.ts';
import type { Built } from './buildah.ts';
import type { BuildCase } from './corpus.ts';
import { configLines, readTarTree } from './tree.ts';

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
    const tree = await readTarTree(PROGRAM, ['cp', `${tag}:/`, '-'], this.#env);
    return { tree, config: await this.#config(tag), seconds };
  }

  /** Returns the configuration as other tools see it: that of the exported image. */
  async #config(tag: string): Promise<ReadonlyMap<string, string>> {
    await using client = clientOfSocket(join(this.#folder, 'data', 'engine.sock'));
    const config = await configOf(client, `tag:${tag}`, AbortSignal.timeout(TIMEOUT_MS));
    return configLines({ ...config });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.run(['engine', 'stop']).catch(() => undefined);
  }
}
