import { limits } from '../../../contract/limits.ts';
import type { TarEntry } from '../../../tar/reader.ts';
import { memberName } from './members.ts';

const HEX = '(?:sha256:)?[0-9a-f]{64}';
/** Members that only an image archive has: the mark of a layout, blobs, and layers and configs of `docker save`. */
const IMAGE_FILE = new RegExp(
  `^(?:oci-layout|blobs/sha256/[0-9a-f]{64}|${HEX}(?:\\.json|\\.tar|\\.tar\\.gz|/layer\\.tar))$`,
  'u',
);
/** Members that an image archive may have besides. */
const ACCOMPANYING = new RegExp(`^(?:(?:index|manifest)\\.json|repositories|${HEX}/(?:VERSION|json))$`, 'u');
/** Folders at the root of a file system (Filesystem Hierarchy Standard, and usual others). */
const ROOT_FOLDERS: ReadonlySet<string> = new Set(
  'bin boot dev etc home lib lib32 lib64 media mnt nix opt proc root run sbin srv sys tmp usr var'.split(' '),
);

/** Evidence, member by member, of whether an archive holds images or a root file system. */
export class ArchiveEvidence {
  #members = 0;
  #accompanying = 0;
  #others = 0;

  /** Takes one more member; returns the conclusion as soon as there is one. */
  add(entry: TarEntry): 'image' | 'rootfs' | undefined {
    const name = memberName(entry);
    if (name === '') return undefined;
    const [top = ''] = (name ?? '').split('/');
    const isFolder = entry.type === 'directory' || entry.type === 'symlink' || name?.includes('/') === true;
    if (isFolder && ROOT_FOLDERS.has(top)) return 'rootfs';
    if (++this.#members > limits.archiveMembersMax) return 'rootfs';
    if (entry.type === 'directory') return undefined;
    if (name !== undefined && IMAGE_FILE.test(name)) return 'image';
    if (name !== undefined && ACCOMPANYING.test(name)) this.#accompanying += 1;
    else this.#others += 1;
    return undefined;
  }

  /** Conclusion at the end of the archive. An incomplete image archive is one, so that it is refused as such. */
  get conclusion(): 'image' | 'rootfs' {
    return this.#accompanying > 0 && this.#others === 0 ? 'image' : 'rootfs';
  }
}
