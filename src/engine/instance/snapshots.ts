import { SPID_INIT } from '../../contract/event.ts';
import type { InstanceSnapshot } from '../../contract/instance.ts';
import { limits } from '../../contract/limits.ts';
import { defined } from '../../std/assert.ts';
import type { LayerFile } from '../../erofs/layer-file.ts';
import type { StoredImage } from '../../store/images.ts';
import type { Layer } from '../../store/layers.ts';
import type { OperationContext, WorkResult } from '../work.ts';
import type { ProcessFacts } from '../run/live-instance.ts';
import { publication } from '../run/publication.ts';
import type { RunPlace, Session } from '../run/session.ts';
import type { CommandTrail } from './command-trail.ts';

/** Parts of the snapshots of an instance. */
export interface SnapshotsParts {
  readonly place: RunPlace;
  readonly context: OperationContext;
  readonly session: Session;
  /** Image that the instance was opened from. */
  readonly image: StoredImage;
  /** Commands since the last image. */
  readonly trail: CommandTrail;
}

export interface SnapshotRequest {
  readonly tag?: string | undefined;
  /** True when nobody asked for it by itself. */
  readonly automatic: boolean;
}

/**
 * Images made of one instance while it stays, and the last one when it ends: each has the one before it as its parent and
 * adds one layer. An image is published only once it is durable, and only then later ones build on it. One at a time.
 */
export class Snapshots implements AsyncDisposable {
  readonly #parts: SnapshotsParts;
  /** The image that the next one builds on. */
  #last: StoredImage;
  /** Layer of injected files, as long as no image has it. */
  #injected: Layer | undefined;
  #count = 0;
  #queue: Promise<unknown> = Promise.resolve();

  constructor(parts: SnapshotsParts) {
    this.#parts = parts;
    this.#last = parts.image;
    this.#injected = parts.session.lower.injected;
  }

  /** Makes an image after those that are being made. Faults as of `Instance.snapshot` and of a commit. */
  async take(request: SnapshotRequest): Promise<InstanceSnapshot> {
    const taken = this.#queue.then(() => this.#take(request));
    this.#queue = taken.catch(() => undefined);
    return taken;
  }

  /** Waits for the images that are being made. */
  async settled(): Promise<void> {
    await this.#queue;
  }

  /** Waits for them too: nothing is recorded after the end of the operation. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.settled();
  }

  /** Returns the last image of the instance, which ends: its changes since the one before it. Ends every process. */
  async last(tag: string | undefined): Promise<WorkResult> {
    const { context, session, trail } = this.#parts;
    const layer = await session.commit(await this.#lower());
    if (layer !== undefined || this.#injected !== undefined) context.note({ snapshots: this.#count + 1 });
    return this.#result(layer, trail.all, tag);
  }

  async #take({ tag, automatic }: SnapshotRequest): Promise<InstanceSnapshot> {
    const { place, context, session, trail } = this.#parts;
    context.signal.throwIfAborted();
    using _hold = place.store.hold();
    const lower = await this.#lower();
    const commands = trail.all;
    const snapshot = session.instance.snapshot(context.signal);
    const layer = await session.store(snapshot.changes, lower);
    const frozen = Math.round((snapshot.frozenMs ?? 0) * 10) / 10;
    const changed = layer !== undefined || this.#injected !== undefined;
    if (!changed && tag === undefined) return { image: this.#last.uuid, changed, frozen_ms: frozen };
    const count = this.#count + (changed ? 1 : 0);
    const { resultImage } = await context.keep(this.#result(layer, commands, tag), { snapshots: count });
    const image = defined(resultImage, 'a snapshot has an image');
    if (!changed) return { image, changed, frozen_ms: frozen };
    snapshot.accept();
    this.#last = place.store.images.get(image);
    this.#injected = undefined;
    this.#count = count;
    trail.forget(commands);
    place.store.events.append(context.uuid, SPID_INIT, 'snapshot', { image, automatic, frozen_ms: frozen });
    return { image, changed, frozen_ms: frozen };
  }

  #result(layer: Layer | undefined, commands: readonly ProcessFacts[], tag: string | undefined): WorkResult {
    const { place, context } = this.#parts;
    const parent = this.#last;
    const added = [this.#injected, layer].filter((one) => one !== undefined);
    const exitCode = commands.at(-1)?.exitCode;
    return publication(place, context, {
      parent,
      added,
      config: parent.config,
      command: commandOf(commands),
      exitCode,
      tag,
    });
  }

  /** Returns the layers of all that is in the images so far; they are merged before they become too many. */
  async #lower(): Promise<readonly LayerFile[]> {
    const { place, context, session, image } = this.#parts;
    if (this.#last === image) return session.lower.files;
    return place.store.layers.files(await place.compactor.mountable(this.#last.uuid, context.signal));
  }
}

/** Returns commands as the lineage shows them. */
function commandOf(commands: readonly ProcessFacts[]): string {
  const text = commands.map(({ command }) => command).join('; ');
  return text === '' ? 'snapshot' : text.slice(0, limits.commandCharactersListed);
}
