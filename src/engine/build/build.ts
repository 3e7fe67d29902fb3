import type { BuildRequest } from '../../contract/build.ts';
import { fault } from '../../contract/errors.ts';
import type { ImageImportMetadata } from '../../contract/operation.ts';
import { EMPTY_IMAGE_CONFIG, type ImageConfig } from '../../contract/image.ts';
import { limits } from '../../contract/limits.ts';
import { LayerBuilder } from '../../layers/layer-builder.ts';
import type { Dockerfile } from '../../dockerfile/instruction.ts';
import { parseDockerfile } from '../../dockerfile/parse.ts';
import { type GivenArgs, globalScope } from '../../dockerfile/scope.ts';
import { type Base, findStage, planStage, planStages } from '../../dockerfile/stages.ts';
import { defined } from '../../std/assert.ts';
import type { NewImage, StoredImage } from '../../store/images.ts';
import type { OperationContext, WorkResult } from '../work.ts';
import { BuildLog } from './build-log.ts';
import { type BuildContext, openContext } from './context.ts';
import { checkBuildPlatform, platformArgs } from './platform.ts';
import type { BuildPlace, OngoingBuild } from './ongoing-build.ts';
import { StageBuild } from './stage.ts';

/** Configuration of `FROM scratch`, which BuildKit and buildah give a PATH. */
const SCRATCH_CONFIG: ImageConfig = {
  ...EMPTY_IMAGE_CONFIG,
  env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' },
};

/** Returns the stored form of a build request: without arguments' values and without secrets. */
export function recordBuild(request: BuildRequest): ImageImportMetadata {
  const dockerfile = request.dockerfile ?? 'Dockerfile';
  return {
    registry: { url: `dockerfile:${dockerfile}` },
    tag: request.tag ?? null,
    timeout: request.timeout ?? limits.commandTimeoutSecondsMax,
    build: { dockerfile, target: request.target ?? null, build_args: Object.keys(request.build_args ?? {}) },
  };
}

/**
 * Builds an image from a Dockerfile. Each instruction makes an image, which stays whatever becomes of the build. Rejects
 * with DOCKERFILE_INVALID, BUILD_FAILED for a step, and the faults of the context and of base images.
 */
export async function executeBuild(
  place: BuildPlace,
  request: BuildRequest,
  operation: OperationContext,
): Promise<WorkResult> {
  operation.execute();
  const { store, compactor } = place;
  await using context = await openContext(store, request, operation.signal);
  const image = await new Build(place, request, { operation, context }).execute();
  const { tag } = request;
  const planned = (): { image: string; tag?: string; imageBytes: number } => {
    const { uuid, layers } = store.images.get(image.uuid);
    return { image: uuid, imageBytes: store.layers.bytesOf(layers), ...(tag && { tag }) };
  };
  const publish: WorkResult['publish'] = () => {
    if (tag) store.tags.set(tag, image.uuid);
    return planned();
  };
  return { planned, publish, durable: true, published: (uuid) => compactor.schedule(uuid) };
}

/** One build: its stages, each started once, and the images they begin with. */
class Build implements OngoingBuild {
  readonly place: BuildPlace;
  readonly request: BuildRequest;
  readonly context: BuildContext;
  readonly file: Dockerfile;
  readonly log: BuildLog;
  readonly operation: OperationContext;
  readonly given: GivenArgs;
  readonly globals: ReadonlyMap<string, string>;
  /** Names of build arguments that an ARG declares. */
  readonly consumed = new Set<string>();
  readonly #failure = new AbortController();
  readonly #stages = new Map<number, Promise<StoredImage>>();
  readonly #images = new Map<string, Promise<StoredImage>>();

  constructor(
    place: BuildPlace,
    request: BuildRequest,
    { operation, context }: { readonly operation: OperationContext; readonly context: BuildContext },
  ) {
    this.place = place;
    this.request = request;
    this.context = context;
    this.operation = operation;
    this.file = parseDockerfile(context.dockerfile);
    this.log = new BuildLog(place.store, operation.uuid);
    this.given = { build: new Map(Object.entries(request.build_args ?? {})), platform: platformArgs() };
    this.globals = globalScope(this.file.globalArgs, this.given, this.file.escape);
    for (const { args } of this.file.globalArgs) for (const { name } of args) this.consumed.add(name);
  }

  /** Aborts when the operation ends, or when another stage has failed. */
  get signal(): AbortSignal {
    return AbortSignal.any([this.operation.signal, this.#failure.signal]);
  }

  /** Builds the stages that the target needs, side by side, and returns the image of the target. */
  async execute(): Promise<StoredImage> {
    checkBuildPlatform(this.request.platform);
    const { target, needed } = planStages(this.file, this.request.target, this.globals);
    const stages = [...needed.keys()].map((index) => this.stage(index));
    try {
      await Promise.all(stages);
    } catch (error) {
      this.#failure.abort(error);
      await Promise.allSettled(this.#stages.values());
      throw error;
    }
    for (const name of this.given.build.keys()) {
      if (!this.consumed.has(name)) this.log.line(`warning: no ARG declares the build argument ${name}`);
    }
    return await this.stage(target);
  }

  /** Returns the image of a stage, which is built at most once. */
  stage(index: number): Promise<StoredImage> {
    const known = this.#stages.get(index);
    if (known !== undefined) return known;
    const stage = defined(this.file.stages[index], 'the stage is in the file');
    const built = new StageBuild(this, planStage(this.file, stage, this.globals)).execute();
    this.#stages.set(index, built);
    // Those that need the stage get its failure; that nobody awaits it any more is not another one.
    built.catch(() => undefined);
    return built;
  }

  /** Returns the image that a stage begins with. */
  async base(base: Base, line: number): Promise<StoredImage> {
    if (base.kind === 'stage') return await this.stage(base.stage);
    return await (base.kind === 'scratch' ? this.#scratch() : this.#image(base.source, line));
  }

  /** Returns the image that `--from` names, for a stage of that index: an earlier stage, or an image. */
  async source(name: string, stage: number, line: number): Promise<StoredImage> {
    const earlier = findStage(this.file.stages, name, stage);
    return await (earlier === undefined ? this.#image(name, line) : this.stage(earlier.index));
  }

  #image(source: string, line: number): Promise<StoredImage> {
    const known = this.#images.get(source) ?? this.#resolve(source, line);
    this.#images.set(source, known);
    return known;
  }

  /** Returns an image of the store, by tag or UUID, or imports it. */
  async #resolve(source: string, line: number): Promise<StoredImage> {
    const { store, importer, imports, privateByName, mayImport } = this.place;
    const own = await this.#own(source);
    if (own !== undefined) return own;
    if (source.startsWith('tag:')) throw fault('IMAGE_NOT_FOUND', { image: source });
    if (!mayImport) throw fault('PERMISSION_MISSING', { permission: 'import' });
    using _place = await imports.enter({ project: store.project, cost: { imports: 1 } }, this.signal);
    const progress = (text: string): void => this.log.line(`line ${line}: ${source}: ${text}`);
    const imported = await importer.fromRegistry({ url: source }, { store, progress, privateByName }, this.signal);
    return await this.#root(imported);
  }

  /** Returns an image that is there by its tag or UUID. */
  async #own(source: string): Promise<StoredImage | undefined> {
    const { store, catalogue } = this.place;
    const name = source.replace(/^tag:/u, '');
    const shared = await catalogue?.resolve(store.project, name, this.signal);
    if (shared !== undefined) return store.images.get(shared);
    const tagged = catalogue === undefined ? store.tags.find(name) : undefined;
    return tagged === undefined ? store.images.find(source.toLowerCase()) : store.images.get(tagged);
  }

  /** Returns the root image with these layers, which is made where there is none. */
  async #root({ layers, config }: Pick<NewImage, 'layers' | 'config'>): Promise<StoredImage> {
    const { images } = this.place.store;
    const made: NewImage = { layers, config, operation: this.operation.uuid };
    const shared = await this.operation.share(() => made);
    if (shared !== undefined) return images.create({ ...made, shared });
    return images.findRoot(layers, config) ?? images.create(made);
  }

  /** Returns the empty image, which is one root image of the project. */
  async #scratch(): Promise<StoredImage> {
    const { store } = this.place;
    await using staged = store.layers.stage();
    await using builder = await LayerBuilder.create(staged.path);
    const { digest } = await store.layers.publish(staged, await builder.finish());
    return await this.#root({ layers: [digest], config: SCRATCH_CONFIG });
  }
}
