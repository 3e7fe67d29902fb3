import type { DirectoryNode, LayerNode } from './node.ts';

/** Folder of an image over which every sandbox mounts its own, so that a run sees nothing of it. */
const COVERED = 'dev';

/** Reports whether gVisor can mount a layer as it is: no inode has xattrs, and no device is visible in a run. */
export function isPlain(root: DirectoryNode): boolean {
  const left: { readonly node: LayerNode; readonly covered: boolean }[] = [{ node: root, covered: false }];
  for (let next = left.pop(); next !== undefined; next = left.pop()) {
    const { node, covered } = next;
    if (node.xattrs.size > 0 || (!covered && hasDeviceNumber(node))) return false;
    if (node.type !== 'directory') continue;
    for (const [name, child] of node.children) {
      left.push({ node: child, covered: covered || (node === root && name === COVERED) });
    }
  }
  return true;
}

/** Reports whether a run sees a device at this path of a layer. gVisor reads all device numbers of a layer as 0. */
export function isVisibleDevice(inode: Parameters<typeof hasDeviceNumber>[0], path: string): boolean {
  return hasDeviceNumber(inode) && !path.startsWith(`${COVERED}/`);
}

/** A whiteout is a character device with the number 0. */
function hasDeviceNumber(inode: { readonly type: string; readonly major?: number; readonly minor?: number }): boolean {
  const { type, major = 0, minor = 0 } = inode;
  return (type === 'character' || type === 'block') && (major !== 0 || minor !== 0);
}
