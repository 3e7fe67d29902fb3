import { posix } from 'node:path';
import type { ImageConfig } from '../../contract/image.ts';
import { limits } from '../../contract/limits.ts';
import { guestMemoryMib } from '../../sandbox/memory-sizes.ts';
import type { NetworkPolicy } from '../../sandbox/driver.ts';
import type { ArgInstruction, CopyInstruction, Instruction, RunInstruction } from '../../dockerfile/instruction.ts';
import { parseTrigger } from '../../dockerfile/parse.ts';
import { StageScope } from '../../dockerfile/scope.ts';
import type { PlannedStage } from '../../dockerfile/stages.ts';
import { Pace } from '../../std/event-loop.ts';
import { present } from '../../std/present.ts';
import type { NewImage, StoredImage } from '../../store/images.ts';
import type { Layer } from '../../store/layers.ts';
import { runClaim, runCost } from '../capacity.ts';
import { HOSTNAME_DEFAULT, networkOf } from '../run/plan.ts';
import type { OngoingBuild } from './ongoing-build.ts';
import { CopyStep } from './copy-step.ts';
import { buildFailure, StepFailed } from './failure.ts';
import { applyMetadata, type MetadataInstruction } from './metadata.ts';
import { checkStagePlatform } from './platform.ts';
import { RunMounts } from './mounts.ts';
import { commandOfRun } from './run-command.ts';
import { executeStep } from './run-step.ts';
import { digestOfTexts } from './source-node.ts';
import { directoryLayer } from './workdir.ts';

/** A step that is about to be made, or found. */
interface Step {
  /** Texts that stand for everything that the result depends on besides the parent; the later ones take longer to find out. */
  readonly keys: readonly (() => Promise<readonly string[]> | readonly string[])[];
  readonly config: ImageConfig;
  /** Makes the layer of the step, if it has one. */
  readonly make: () => Promise<Layer | undefined>;
}

/** One stage of a build, instruction by instruction. */
export class StageBuild {
  readonly #build: OngoingBuild;
  readonly #planned: PlannedStage;
  readonly #scope: StageScope;
  #image: StoredImage | undefined;
  #config: ImageConfig | undefined;
  #hasOwnCmd = false;
  #count = 0;

  constructor(build: OngoingBuild, planned: PlannedStage) {
    this.#build = build;
    this.#planned = planned;
    this.#scope = new StageScope(build.given, build.globals, build.file.escape, build.consumed);
  }

  /** Builds the stage and returns its last image. */
  async execute(): Promise<StoredImage> {
    const { stage, base, platform } = this.#planned;
    checkStagePlatform(platform, stage.line);
    const image = await this.#build.base(base, stage.line);
    const { onbuild: triggers = [], ...config } = image.config;
    this.#image = image;
    this.#config = config;
    const first = triggers.map((trigger) => parseTrigger(trigger, stage.line));
    this.#build.log.line(`#${this.#build.log.step()} [${this.#name} FROM] ${stage.text} → ${image.uuid}`);
    const all = [...first, ...stage.instructions];
    this.#count = all.length;
    const pace = new Pace();
    for (const [index, instruction] of all.entries()) {
      // Steps that are known need no waiting, so a thousand of them would be one turn.
      if (pace.due(Infinity)) await pace.rest();
      await this.#step(instruction, index + 1);
    }
    return this.#parent;
  }

  get #name(): string {
    const { name, index } = this.#planned.stage;
    return name ?? `stage ${index}`;
  }

  get #parent(): StoredImage {
    if (this.#image === undefined) throw new Error('the stage has begun');
    return this.#image;
  }

  async #step(instruction: Instruction, position: number): Promise<void> {
    const { log, signal } = this.#build;
    const number = log.step();
    const parent = this.#parent;
    log.line(`#${number} [${this.#name} ${position}/${this.#count}] ${instruction.text}`);
    const startedMs = performance.now();
    try {
      signal.throwIfAborted();
      const step = await this.#prepare(instruction, number);
      const { image, isCached } = await this.#result(step, instruction, parent);
      this.#image = image;
      this.#config = image.config;
      const took = `${((performance.now() - startedMs) / 1_000).toFixed(1)}s`;
      log.line(`#${number} ${isCached ? 'CACHED' : `DONE ${took}`} → ${image.uuid}`);
    } catch (error) {
      const failure = buildFailure(error, instruction, parent.uuid);
      log.line(`#${number} FAILED`);
      throw failure;
    }
  }

  /** Returns the image of a step: the one that an equal step made before, or a new one. */
  async #result(
    { keys, config, make }: Step,
    instruction: Instruction,
    parent: StoredImage,
  ): Promise<{ readonly image: StoredImage; readonly isCached: boolean }> {
    const { place, request, operation } = this.#build;
    const { store, compactor } = place;
    const digests: string[] = [];
    for (const key of keys) {
      const digest = digestOfTexts([parent.uuid, instruction.kind, ...(await key())]);
      digests.push(digest);
      const known = request.no_cache === true ? undefined : store.buildSteps.find(digest);
      const image = known === undefined ? undefined : await this.#made(known);
      if (image === undefined) continue;
      store.buildSteps.remember(digests, image.uuid);
      return { image, isCached: true };
    }
    const layer = await make();
    this.#build.signal.throwIfAborted();
    const made = (): NewImage => {
      // The current layers of the parent: they may have been merged meanwhile.
      const { layers } = store.images.get(parent.uuid);
      return {
        layers: layer === undefined ? layers : [...layers, layer.digest],
        config,
        parent: parent.uuid,
        operation: operation.uuid,
        command: instruction.text,
        layerBytes: layer?.bytes ?? 0,
        ...(instruction.kind === 'RUN' && { exitCode: 0 }),
      };
    };
    const shared = await operation.share(made);
    const image = store.transaction(
      () => {
        const created = store.images.create({ ...made(), ...present({ shared }) });
        store.buildSteps.remember(digests, created.uuid);
        return created;
      },
      { durable: true },
    );
    compactor.schedule(image.uuid);
    return { image, isCached: false };
  }

  /** Returns an image that a step has made, from the cluster's catalogue if need be. */
  async #made(uuid: string): Promise<StoredImage | undefined> {
    const { store, catalogue } = this.#build.place;
    const here = store.images.find(uuid);
    if (here !== undefined || catalogue === undefined) return here;
    const shared = await catalogue.resolve(store.project, uuid, this.#build.signal);
    return shared === undefined ? undefined : store.images.find(shared);
  }

  async #prepare(instruction: Instruction, number: number): Promise<Step> {
    switch (instruction.kind) {
      case 'RUN':
        return await this.#run(instruction, number);
      case 'COPY':
      case 'ADD':
        return await this.#copy(instruction);
      case 'ARG':
        return this.#arg(instruction);
      default:
        return this.#metadata(instruction);
    }
  }

  /** The value of an ARG is not part of its key: only what uses it depends on it. */
  #arg(instruction: ArgInstruction): Step {
    this.#scope.declare(instruction, this.#current.env);
    return { keys: [() => [instruction.text]], config: this.#current, make: async () => undefined };
  }

  #metadata(instruction: MetadataInstruction): Step {
    const substitution = this.#scope.substitution(instruction.line, this.#current.env);
    const config = applyMetadata(this.#current, instruction, substitution, { hasOwnCmd: this.#hasOwnCmd });
    if (instruction.kind === 'CMD') this.#hasOwnCmd = true;
    const place = { store: this.#build.place.store, readers: this.#build.place.readers };
    const make = async (): Promise<Layer | undefined> =>
      instruction.kind === 'WORKDIR'
        ? await directoryLayer(
            place,
            this.#parent.layers,
            { path: config.cwd, user: config.user, line: instruction.line },
            this.#build.signal,
          )
        : undefined;
    return { keys: [() => [JSON.stringify(config)]], config, make };
  }

  async #copy(instruction: CopyInstruction): Promise<Step> {
    const { env, cwd } = this.#current;
    const substitution = this.#scope.substitution(instruction.line, env);
    const { index } = this.#planned.stage;
    const step = await CopyStep.open(this.#build, instruction, { substitution, cwd: cwd || '/', stage: index });
    const make = async (): Promise<Layer | undefined> => {
      const layers = await this.#build.place.compactor.mountable(this.#parent.uuid, this.#build.signal);
      return await step.make(layers);
    };
    return { keys: step.keys, config: this.#current, make };
  }

  async #run(instruction: RunInstruction, number: number): Promise<Step> {
    const { place, request, operation, signal } = this.#build;
    const config = this.#current;
    const command = commandOfRun(instruction, config);
    const mounts = await RunMounts.open(this.#build, instruction, {
      substitution: this.#scope.substitution(instruction.line, config.env),
      cwd: config.cwd || '/',
      stage: this.#planned.stage.index,
      script: command.script,
    });
    const args = this.#scope.argsOfRun(config.env);
    const network: NetworkPolicy = instruction.network === 'none' ? { mode: 'none' } : networkOf(request);
    const bounds = request.resources_limits;
    const boot = {
      cpus: bounds?.cpus ?? limits.guestCpusDefault,
      memoryMib: guestMemoryMib(bounds?.memory_mib ?? limits.guestMemoryMibDefault),
      diskBytes: bounds?.max_layer_bytes ?? limits.layerBytesDefault,
      hostname: HOSTNAME_DEFAULT,
      network,
      ...present({ sandbox: request.sandbox }),
    };
    const key = async (): Promise<readonly string[]> => [
      ...command.argv,
      command.script ?? '',
      JSON.stringify(Object.entries(args).sort(([left], [right]) => (left < right ? -1 : 1))),
      JSON.stringify(network),
      ...(await mounts.keys()),
    ];
    const make = async (): Promise<Layer | undefined> => {
      const layers = await place.compactor.mountable(this.#parent.uuid, signal, mounts.layersMax);
      const image = await place.store.layers.files(layers);
      await using opened = await mounts.prepare(image);
      const entry = { project: place.store.project, cost: runCost(boot), claim: runClaim(boot) };
      using _place = await place.runs.enter(entry, signal);
      const step = {
        spid: number,
        argv: command.argv,
        env: { ...mounts.names, ...this.#scope.proxyArgs(config.env), ...args, ...config.env, ...mounts.env },
        hidden: new Set(Object.keys(mounts.env)),
        cwd: posix.resolve('/', config.cwd),
        user: config.user,
        timeoutSeconds: request.timeout ?? limits.commandTimeoutSecondsMax,
        boot,
        agents: opened.agents,
      };
      const end = await executeStep({ ...place, operation: operation.uuid }, step, { image, ...opened }, signal);
      if (end.failure !== undefined) throw new StepFailed(end.failure.reason, end.failure.output);
      return end.layer;
    };
    return { keys: [key], config, make };
  }

  get #current(): ImageConfig {
    if (this.#config === undefined) throw new Error('the stage has begun');
    return this.#config;
  }
}
