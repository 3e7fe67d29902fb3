import { posix } from 'node:path';
import { LayerBuilder } from '../../layers/layer-builder.ts';
import { Tree } from '../../layers/tree.ts';
import { fault, isFault } from '../../contract/errors.ts';
import { dockerfileFault } from '../../dockerfile/faults.ts';
import { NO_XATTRS } from '../../erofs/node.ts';
import type { ReaderPool } from '../../erofs/reader-pool.ts';
import { resolveUser } from '../../images/inspect/users.ts';
import { toByteString } from '../../std/bytes.ts';
import type { Layer } from '../../store/layers.ts';
import type { ProjectStore } from '../../store/project-store.ts';
import { STEP_TIME_SECONDS } from './source-node.ts';

/**
 * Makes the layer in which a directory of an image, and those above it, exist; undefined when the image has it. What is
 * made belongs to the user of the image. Faults: NOT_A_DIRECTORY, DOCKERFILE_INVALID for an unknown user.
 */
export async function directoryLayer(
  { store, readers }: { readonly store: ProjectStore; readonly readers: ReaderPool },
  layers: readonly string[],
  { path, user, line }: { readonly path: string; readonly user: string; readonly line: number },
  signal: AbortSignal,
): Promise<Layer | undefined> {
  await using tree = await Tree.open(await store.layers.files(layers), readers);
  const missing: string[] = [];
  for (let at = path; at !== '/'; at = posix.dirname(at)) {
    const type = await typeAt(tree, at);
    if (type === 'directory') break;
    if (type !== undefined) throw fault('NOT_A_DIRECTORY', { path: at, type });
    missing.unshift(at);
  }
  if (missing.length === 0) return undefined;
  const owner = await resolveUser(tree, user, 'owner');
  if ('unknown' in owner) throw unknownUser(owner.unknown, line);
  const { uid, gid } = owner;
  await using staged = store.layers.stage();
  await using builder = await LayerBuilder.create(staged.path, { lower: tree, signal });
  for (const directory of missing) {
    const metadata = { mode: 0o755, uid, gid, mtimeSeconds: STEP_TIME_SECONDS, mtimeNanoseconds: 0, xattrs: NO_XATTRS };
    await builder.add(toByteString(directory), { ...metadata, type: 'directory' });
  }
  return await store.layers.publish(staged, await builder.finish());
}

/** Returns the fault of an owner whom the image does not know. */
export function unknownUser(name: string, line: number): Error {
  return dockerfileFault(line, `the image does not know the user or group ${JSON.stringify(name)}`);
}

async function typeAt(tree: Tree, path: string): Promise<string | undefined> {
  try {
    return (await tree.resolve(toByteString(path))).type;
  } catch (error) {
    if (isFault(error, 'FILE_NOT_FOUND')) return undefined;
    throw error;
  }
}
