import { join } from 'node:path';
import { command } from '../../scripts/support/command.ts';
import type { BuildCase } from './corpus.ts';
import { configLines, readTree, type TreeLines } from './tree.ts';

/** Result of a build, as it is compared. */
export interface Built {
  readonly tree: TreeLines;
  readonly config: ReadonlyMap<string, string>;
  readonly seconds: number;
}

/** Parts of what `buildah inspect` prints that are compared. */
interface DockerImage {
  readonly Docker: { readonly config: Readonly<Record<string, unknown>> };
}

/** Longest time of one program. */
const TIMEOUT_MS = 300_000;

/** buildah with a storage of its own below a folder. It needs root, and neither a daemon nor a container engine. */
export class Buildah implements AsyncDisposable {
  readonly #root: string;
  readonly #storage: readonly string[];

  private constructor(root: string, storage: readonly string[]) {
    this.#root = root;
    this.#storage = storage;
  }

  /** Opens a storage: overlay where this host can mount it, otherwise copies of whole trees, which take far longer. */
  static async open(folder: string): Promise<Buildah> {
    const place = (driver: string): Buildah => {
      const [root, run] = [join(folder, `storage-${driver}`), join(folder, 'run')];
      return new Buildah(root, ['--root', root, '--runroot', run, '--storage-driver', driver]);
    };
    const overlay = place('overlay');
    return await overlay.run(['info']).then(
      () => overlay,
      () => place('vfs'),
    );
  }

  /** Removes all containers and the mount of the storage itself, so that its folder can be removed. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.run(['rm', '--all']).catch(() => undefined);
    await command('umount', [join(this.#root, 'overlay')]).catch(() => undefined);
  }

  /** Runs a command of buildah and returns its output. */
  async run(args: readonly string[], cwd?: string): Promise<string> {
    return await command('buildah', [...this.#storage, ...args], { timeout: TIMEOUT_MS, ...(cwd && { cwd }) });
  }

  /** Makes an image of a root file system, with these options of `buildah config`. */
  async imageOf(folder: string, name: string, config: readonly string[]): Promise<void> {
    const container = (await this.run(['from', 'scratch'])).trim();
    await this.run(['add', '-q', container, folder, '/']);
    await this.run(['config', ...config, container]);
    await this.run(['commit', '-q', '--rm', '--format', 'docker', container, name]);
  }

  /** Builds a Dockerfile into an image of that name. */
  async build(context: string, name: string, options: readonly string[] = []): Promise<void> {
    const how = ['--isolation', 'chroot', '--pull-never', '--format', 'docker', '--quiet'];
    await this.run(['bud', ...how, ...options, '-t', name, '.'], context);
  }

  /** Writes an image as an archive that others can import. */
  async save(name: string, file: string): Promise<void> {
    await this.run(['push', '-q', name, `docker-archive:${file}`]);
  }

  /** Builds a case and reads its result. */
  async built({ name, context, peerOptions }: BuildCase): Promise<Built> {
    const started = performance.now();
    const image = `localhost/case-${name}`;
    await this.build(context, image, peerOptions);
    const seconds = (performance.now() - started) / 1_000;
    const { Docker } = JSON.parse(await this.run(['inspect', '--type', 'image', image])) as DockerImage;
    const container = (await this.run(['from', '--pull-never', image])).trim();
    const root = (await this.run(['mount', container])).trim();
    const tree = await readTree(root);
    await this.run(['rm', container]);
    // By force: stages that were not needed leave containers behind.
    await this.run(['rmi', '--force', image]);
    return { tree, config: configLines(Docker.config), seconds };
  }
}
