import { fault, isFault } from '../contract/errors.ts';
import { SPID_INIT } from '../contract/event.ts';
import type { ArchiveImportRequest, ImageImportRequest } from '../contract/image.ts';
import { limits } from '../contract/limits.ts';
import type { ImageImportMetadata } from '../contract/operation.ts';
import { present } from '../std/present.ts';
import type { NewImage } from '../store/images.ts';
import type { OperationContext, WorkResult } from './work.ts';
import { MASK, maskUrl } from './run/secrets.ts';
import type { Imported, ImporterContext } from '../images/import/importer.ts';

/** Returns the stored form of an import request, without its secret. */
export function recordImport(request: ImageImportRequest): ImageImportMetadata {
  const { username = '', password = '' } = request.registry.credentials ?? {};
  return {
    registry: {
      url: maskUrl(request.registry.url),
      credentials: { username, password: password === '' ? '' : MASK },
    },
    tag: request.tag ?? null,
    timeout: request.timeout ?? limits.importTimeoutSecondsDefault,
  };
}

/** Returns the same for an archive, with its name in place of a registry's address. */
export function recordArchiveImport(request: ArchiveImportRequest): ImageImportMetadata {
  const url = `archive:${request.name ?? request.file}${request.reference ? `#${request.reference}` : ''}`;
  return recordImport({ registry: { url }, tag: request.tag, timeout: request.timeout });
}

/** Accepted import. */
export interface ImportWork extends Pick<ImporterContext, 'store' | 'privateByName'> {
  readonly tag: string | null | undefined;
  readonly timeoutSeconds: number;
  readonly fetchImage: (context: ImporterContext, signal: AbortSignal) => Promise<Imported>;
  /** Called with the image once it is visible. */
  readonly published: (image: string) => void;
}

/** Runs an import. An image that is already there unchanged is found and not made again. */
export async function executeImport(work: ImportWork, context: OperationContext): Promise<WorkResult> {
  const { store, tag, timeoutSeconds, privateByName } = work;
  context.execute();
  let offset = 0;
  const progress: ImporterContext['progress'] = (line, figures) => {
    const bytes = Buffer.from(`${line}\n`);
    store.events.appendOutput(context.uuid, { spid: SPID_INIT, stream: 'stdout', offset, bytes, progress: figures });
    offset += bytes.byteLength;
  };
  const deadline = AbortSignal.timeout(timeoutSeconds * 1_000);
  const place = { store, progress, privateByName };
  const imported = await work.fetchImage(place, AbortSignal.any([context.signal, deadline])).catch((error) => {
    if (deadline.aborted && !isFault(error)) throw fault('TIMED_OUT', { what: 'the import', seconds: timeoutSeconds });
    throw error;
  });
  const { layers, config } = imported;
  const made: NewImage = { layers, config, operation: context.uuid };
  const more = { imageBytes: store.layers.bytesOf(layers), ...(tag && { tag }) };
  const publish: WorkResult['publish'] = (shared) => {
    // A catalogue has looked for an equal image itself.
    const known = shared === undefined ? store.images.findRoot(layers, config) : undefined;
    // The last import's layers may have been merged, and the result damaged: now their originals are here again.
    const damaged = known?.layers.some((digest) => store.layers.find(digest) === undefined) ?? false;
    if (known !== undefined && damaged) store.stacks.replace(known.layers, layers);
    const image = known ?? store.images.create({ ...made, ...present({ shared }) });
    if (tag) store.tags.set(tag, image.uuid);
    return { image: image.uuid, ...more };
  };
  return { planned: () => ({ image: made, ...more }), publish, durable: true, published: work.published };
}
