import { createHash, randomBytes } from 'node:crypto';
import { mkdir, open, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { sha256, json, OCI } from '../../test/support/servers/registry.ts';
import { memberOf } from '../../test/support/tar.ts';

const FILE_BYTES = 100_000;

/**
 * Writes an OCI layout directory with the one reference `big`: a single gzip layer whose tar has about `bytes` bytes, in
 * files of 100 KB, half as large when compressed. gzip allows several members in a row, so the content is compressed once.
 */
export async function writeBigImage(layout: string, bytes: number): Promise<void> {
  const blobs = join(layout, 'blobs/sha256');
  await mkdir(blobs, { recursive: true });
  const half = randomBytes(FILE_BYTES / 2);
  const content = Buffer.concat([
    half.subarray(0, 25_000),
    Buffer.alloc(FILE_BYTES / 2, 'text '),
    half.subarray(25_000),
  ]);
  const body = Buffer.concat([content, Buffer.alloc((512 - (content.length % 512)) % 512)]);
  const packedBody = gzipSync(body, { level: 1 });
  const [plain, packed] = [createHash('sha256'), createHash('sha256')];
  const staged = join(layout, 'layer');
  let size = 0;
  {
    await using file = await open(staged, 'w');
    const put = async (tar: Buffer, gzip: Buffer): Promise<void> => {
      plain.update(tar);
      packed.update(gzip);
      size += gzip.length;
      await file.write(gzip);
    };
    for (let index = 0; index * FILE_BYTES < bytes; index += 1) {
      const header = memberOf({ path: `data/${index % 100}/${index}`, size: content.length });
      await put(header, gzipSync(header, { level: 1 }));
      await put(body, packedBody);
    }
    const end = Buffer.alloc(1024);
    await put(end, gzipSync(end));
  }
  const digest = `sha256:${packed.digest('hex')}` as const;
  await rename(staged, join(blobs, digest.slice(7)));
  const blob = async (value: unknown, mediaType: string) => {
    const content = json(value);
    await writeFile(join(blobs, sha256(content).slice(7)), content);
    return { mediaType, digest: sha256(content), size: content.length };
  };
  const diffId = `sha256:${plain.digest('hex')}` as const;
  const config = await blob(
    { os: 'linux', architecture: 'amd64', config: {}, rootfs: { type: 'layers', diff_ids: [diffId] } },
    OCI.config,
  );
  const layers = [{ mediaType: OCI.gzip, digest, size }];
  const manifest = await blob({ schemaVersion: 2, mediaType: OCI.manifest, config, layers }, OCI.manifest);
  const named = { ...manifest, annotations: { 'org.opencontainers.image.ref.name': 'big' } };
  await writeFile(join(layout, 'index.json'), json({ schemaVersion: 2, manifests: [named] }));
  await writeFile(join(layout, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
}
