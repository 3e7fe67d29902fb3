import type { BuildRequest } from '../../contract/build.ts';
import type { Dockerfile } from '../../dockerfile/instruction.ts';
import type { GivenArgs } from '../../dockerfile/scope.ts';
import type { Base } from '../../dockerfile/stages.ts';
import type { ReaderPool } from '../../erofs/reader-pool.ts';
import type { Importer } from '../../images/import/importer.ts';
import type { Downloader } from '../../images/import/download.ts';
import type { SandboxDriver } from '../../sandbox/driver.ts';
import type { StoredImage } from '../../store/images.ts';
import type { ProjectStore } from '../../store/project-store.ts';
import type { Admission } from '../admission.ts';
import type { Compactor } from '../compaction.ts';
import type { Catalogue } from '../node/catalogue.ts';
import type { Threads } from '../workers/threads.ts';
import type { OperationContext } from '../work.ts';
import type { BuildLog } from './build-log.ts';
import type { BuildContext } from './context.ts';

/** Parts of the engine that builds need. */
export interface BuildPlace {
  readonly store: ProjectStore;
  readonly driver: SandboxDriver;
  readonly readers: ReaderPool;
  readonly compactor: Compactor;
  readonly threads: Threads;
  readonly importer: Importer;
  readonly download: Downloader | undefined;
  /** File of the guest agent, which also relays SSH agents; undefined where there is none. */
  readonly guestAgent: string | undefined;
  /** Catalogue of the cluster, if any, which knows more images than the store. */
  readonly catalogue: Catalogue | undefined;
  readonly runs: Admission;
  readonly imports: Admission;
  /** True when a base that names a registry on a loopback or private address permits that address. */
  readonly privateByName: boolean;
  /** True when the caller may import images. */
  readonly mayImport: boolean;
}

/** A build as its stages and steps see it. */
export interface OngoingBuild {
  readonly place: BuildPlace;
  readonly request: BuildRequest;
  readonly context: BuildContext;
  readonly file: Dockerfile;
  readonly log: BuildLog;
  readonly operation: OperationContext;
  readonly given: GivenArgs;
  /** Variables of the ARG instructions before the first FROM. */
  readonly globals: ReadonlyMap<string, string>;
  /** Names of build arguments that an ARG declares; stages add theirs. */
  readonly consumed: Set<string>;
  /** Aborts when the operation ends, or when another stage has failed. */
  readonly signal: AbortSignal;
  /** Returns the image that a stage begins with. */
  base(base: Base, line: number): Promise<StoredImage>;
  /** Returns the image that `--from` names, for a stage of that index: an earlier stage, or an image. */
  source(name: string, stage: number, line: number): Promise<StoredImage>;
}
