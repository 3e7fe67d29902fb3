import { createReadStream } from 'node:fs';
import { chmod, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { DirectoryNode, LayerNode, Metadata } from '../../erofs/node.ts';
import { NO_XATTRS } from '../../erofs/node.ts';
import { LayerWriter } from '../../erofs/writer.ts';
import { limits } from '../../contract/limits.ts';

const METADATA: Metadata = {
  mode: 0o755,
  uid: 0,
  gid: 0,
  mtimeSeconds: 0,
  mtimeNanoseconds: 0,
  xattrs: NO_XATTRS,
};
/** The sandbox's own user opens the file again through /proc. Its folder is closed to others. */
const READABLE = 0o444;
/** Mount points that gVisor and the agent need. */
const FOLDERS = ['base', 'cell', 'dev', 'disk', 'etc', 'extras', 'proc', 'sys', 'tmp'] as const;

/** Path of a program and the digest of its content. */
interface Agent {
  readonly path: string;
  readonly sha256: string;
}

/**
 * Returns the path of an EROFS file with the agent as `/init`: the root file system of every sandbox, which the image's root
 * replaces. It is made once per agent.
 */
export async function rootImage(folder: string, agent: Agent): Promise<string> {
  const path = join(folder, `root-${agent.sha256.slice(0, 32)}.erofs`);
  const made = await chmod(path, READABLE).then(
    () => true,
    () => false,
  );
  if (!made) await write(path, agent);
  return path;
}

async function write(path: string, agent: Agent): Promise<void> {
  const partial = `${path}.partial`;
  await rm(partial, { force: true });
  await using writer = await LayerWriter.create(partial);
  const { size } = await stat(agent.path);
  const content = await writer.append(createReadStream(agent.path), size);
  const numbers = Array.from({ length: limits.layersPerImageMax }, (_, index) => String(index + 1));
  await writer.finish(
    directory({
      init: { type: 'file', ...METADATA, content },
      layers: directory(Object.fromEntries(numbers.map((name) => [name, directory({})]))),
      ...Object.fromEntries(FOLDERS.map((name) => [name, directory({})])),
    }),
  );
  await chmod(partial, READABLE);
  await rename(partial, path);
}

function directory(children: Readonly<Record<string, LayerNode>>): DirectoryNode {
  return { type: 'directory', ...METADATA, children: new Map(Object.entries(children)) };
}
