import { assert } from '../../../std/assert.ts';

const SECTOR_BYTES = 512;

/** One stretch of the disk with the layers: a whole file that QEMU was given as `descriptor`. */
export interface DiskExtent {
  readonly descriptor: number;
  readonly bytes: number;
}

/**
 * A VMDK descriptor that lines files up to one disk ("VMware Virtual Disk Format 1.1", monolithicFlat): the one
 * format of QEMU that concatenates. The text contains nothing of a layer's name or content.
 */
export function vmdkDescriptor(extents: readonly DiskExtent[]): Buffer {
  const lines = extents.map(({ descriptor, bytes }) => {
    assert(bytes % SECTOR_BYTES === 0, 'an extent is whole sectors');
    return `RW ${bytes / SECTOR_BYTES} FLAT "/dev/fdset/${descriptor}" 0`;
  });
  const head = ['# Disk DescriptorFile', 'version=1', 'CID=fffffffe', 'parentCID=ffffffff'];
  return Buffer.from([...head, 'createType="monolithicFlat"', ...lines, ''].join('\n'), 'latin1');
}

const CLUSTER_BITS = 16;
const CLUSTER_BYTES = 1 << CLUSTER_BITS;
const L2_ENTRIES = CLUSTER_BYTES / 8;
const HEADER_BYTES = 104;

/**
 * Returns an empty qcow2 of `bytes` (QEMU's docs/interop/qcow2.txt, version 3) that names no backing file: QEMU gets that by
 * descriptor.
 *
 *     cluster 0        1               2                3 …
 *     header           refcount table  refcount block   L1 table, all zero: everything comes from the backing file
 */
export function emptyQcow2(bytes: number): Buffer {
  const l1Entries = Math.ceil(bytes / (CLUSTER_BYTES * L2_ENTRIES));
  const l1Clusters = Math.ceil((l1Entries * 8) / CLUSTER_BYTES);
  const clusters = 3 + l1Clusters;
  const image = Buffer.alloc(clusters * CLUSTER_BYTES);
  image.write('QFI\xfb', 0, 'latin1');
  image.writeUInt32BE(3, 4);
  image.writeUInt32BE(CLUSTER_BITS, 20);
  image.writeBigUInt64BE(BigInt(bytes), 24);
  image.writeUInt32BE(l1Entries, 36);
  image.writeBigUInt64BE(BigInt(3 * CLUSTER_BYTES), 40);
  image.writeBigUInt64BE(BigInt(CLUSTER_BYTES), 48);
  image.writeUInt32BE(1, 56);
  // Refcounts of 16 bits, as version 2 has them.
  image.writeUInt32BE(4, 96);
  image.writeUInt32BE(HEADER_BYTES, 100);
  image.writeBigUInt64BE(BigInt(2 * CLUSTER_BYTES), CLUSTER_BYTES);
  for (let cluster = 0; cluster < clusters; cluster += 1) image.writeUInt16BE(1, 2 * CLUSTER_BYTES + 2 * cluster);
  return image;
}

/** Returns the largest size of a qcow2 file whose guest keeps to `diskBytes`, including partly used clusters and tables. */
export function qcow2BytesMax(diskBytes: number): number {
  const slack = 64 * 1024 ** 2;
  return slack + Math.ceil(diskBytes * 1.25);
}
