import { z } from 'zod';
import { fault } from '../../../contract/errors.ts';
import { limits } from '../../../contract/limits.ts';
import { digestOf } from '../../../registry/digest.ts';
import { checkPlatform, parseConfig } from '../../../registry/image-config.ts';
import { OCI_LAYER } from '../../../registry/media-types.ts';
import type { OciImage } from '../../../registry/oci-image.ts';
import { parsedJson } from '../../../std/json.ts';
import { chooseImage } from './choice.ts';
import type { ArchiveIndex } from './members.ts';
import type { IndexedArchive } from './oci.ts';

export const DOCKER_MANIFEST = 'manifest.json';

const Manifest = z.array(
  z.object({ Config: z.string(), RepoTags: z.array(z.string()).nullish(), Layers: z.array(z.string()).nullish() }),
);

export function isDockerArchive(index: ArchiveIndex): boolean {
  return index.find(DOCKER_MANIFEST) !== undefined;
}

/** Parses a `manifest.json`; returns undefined for what is only called that. */
export function parseDockerManifest(bytes: Uint8Array): z.infer<typeof Manifest> | undefined {
  return Manifest.safeParse(parsedJson(bytes)).data;
}

/**
 * Opens a `docker save` archive (moby, image/tarexport). It states no digests of its layers; they are verified by their
 * diffIDs when they are unpacked. Faults: ARCHIVE_INVALID, PLATFORM_UNSUPPORTED, IMAGE_LIMIT.
 */
export async function openDockerArchive(archive: IndexedArchive): Promise<OciImage> {
  const { index, reference, platform } = archive;
  const manifest = parseDockerManifest(await index.read(DOCKER_MANIFEST, limits.manifestBytesMax));
  if (manifest === undefined) throw refuse('its manifest.json is not understood');
  const candidates = manifest.map((entry) => ({ names: entry.RepoTags ?? [], entry }));
  const [chosen, another] = chooseImage(candidates, reference);
  if (chosen === undefined || another !== undefined) throw refuse('it holds several images without different names');
  const { Config: configName, Layers: layerNames } = chosen.entry;
  const configBytes = await index.read(configName, limits.configBytesMax);
  const config = parseConfig(configBytes, refuse);
  const name = chosen.names[0] ?? archive.name;
  checkPlatform(config, platform, name);
  const names = layerNames ?? [];
  if (names.length > limits.layersPerImageMax) {
    throw fault('IMAGE_LIMIT', { what: 'layers', limit: limits.layersPerImageMax });
  }
  if (names.length !== config.diffIds.length) throw refuse('its manifest.json and config do not match');
  return {
    reference: name,
    digest: digestOf(configBytes),
    config: config.config,
    history: config.history,
    leftOut: config.leftOut,
    layers: config.diffIds.map((diffId, position) => {
      const layerName = names[position] ?? '';
      const member = index.find(layerName);
      if (member === undefined) throw refuse(`it lacks layer ${position + 1}`);
      return {
        digest: diffId,
        diffId,
        mediaType: OCI_LAYER,
        bytes: member.bytes,
        open: (signal) => index.stream(member, signal),
      };
    }),
    origin: undefined,
  };
}

function refuse(reason: string): Error {
  return fault('ARCHIVE_INVALID', { reason });
}
