import { z } from 'zod';
import { limits } from './limits.ts';
import { flag, PAGE, requiredText, anyText } from './api/query.ts';

/** An image named by UUID or as `tag:NAME`. */
export const ImageSource = z
  .string()
  .min(1)
  .max(limits.tagBytesMax + 4)
  .describe('image UUID, or tag:NAME');

export const Image = z.object({
  uuid: z.string(),
  /** Newest tag of the image, or null; in lists of tagged images the tag of this entry. */
  tag: z.string().nullable(),
  created_at: z.string(),
  operation_uuid: z.string().nullable(),
  /** Every tag of the image, newest first (addition to the hosted contract). */
  tags: z.array(z.string()).optional(),
  /** Parent image; null for an imported image (addition). */
  parent_uuid: z.string().nullable().optional(),
  /**
   * `import` for a root image, otherwise the command of its run, cut at `limits.commandCharactersListed` (addition).
   */
  command: z.string().nullable().optional(),
  /** Exit code of that command; null for an imported image (addition). */
  exit_code: z.int().nullable().optional(),
  /** Bytes this image added to its parent (addition). */
  layer_bytes: z.int().nullable().optional(),
});
export type Image = z.infer<typeof Image>;

export const ImageQuery = z.object({
  ...PAGE,
  tagged: flag().optional(),
  /** Tag prefix; the list has an entry for each tag that begins with it, an exact match first. */
  tag: anyText().optional(),
  uuid: anyText().optional(),
});
export type ImageQuery = z.infer<typeof ImageQuery>;

export const DeleteQuery = z.object({
  /** Deletes its descendants too. */
  cascade: flag().optional(),
});

export const TagRequest = z.object({ tag: z.string() });
export const TagQuery = z.object({ tag: anyText().optional() });
export const FindTagQuery = z.object({ tag: requiredText(limits.tagBytesMax) });

export const ImageListResponse = z.object({ images: z.array(Image) });
export const DeletedImages = z.object({ deleted: z.array(z.string()) });

export const ImageImportRequest = z.object({
  registry: z.object({
    url: z.string().min(1).max(2_048).describe('docker://registry/repository:tag, oci://…, or a short name'),
    credentials: z
      .object({ username: z.string().max(1_024).optional(), password: z.string().max(65_536).optional() })
      .optional()
      .describe('empty strings mean anonymous'),
  }),
  tag: z.string().nullable().optional(),
  timeout: z.int().min(1).max(limits.importTimeoutSecondsMax).optional().describe('seconds'),
});
export type ImageImportRequest = z.infer<typeof ImageImportRequest>;

/** Push of an image to a registry (addition). */
export const ImagePushRequest = z.object({
  registry: z.object({
    url: z.string().min(1).max(2_048).describe('where to: docker://registry/repository:tag, oci://…, or a short name'),
    credentials: ImageImportRequest.shape.registry.shape.credentials,
  }),
});
export type ImagePushRequest = z.infer<typeof ImagePushRequest>;

/** Progress of a push. Each layer is packed, then sent if the repository does not have it. */
export const PushProgress = z.object({
  type: z.literal('progress'),
  layers_done: z.int(),
  layers_total: z.int(),
  /** Bytes of layers that have been packed, uncompressed. */
  packed_bytes: z.int(),
  total_bytes: z.int(),
  /** Compressed. */
  sent_bytes: z.int(),
});
export type PushProgress = z.infer<typeof PushProgress>;

/** State of an import, sent with each of its progress lines (addition). */
export const ImportProgress = z.object({
  layers_done: z.int(),
  layers_total: z.int(),
  /** Compressed bytes of the layers that the store does not have yet. */
  done_bytes: z.int(),
  total_bytes: z.int(),
});
export type ImportProgress = z.infer<typeof ImportProgress>;

/** Event of a push in progress; `pushed` is the last one. */
export const PushEvent = z.discriminatedUnion('type', [
  PushProgress,
  z.object({ type: z.literal('pushed'), reference: z.string(), digest: z.string() }),
]);
export type PushEvent = z.infer<typeof PushEvent>;

/** Import of an uploaded docker-save archive, OCI layout (tar) or root filesystem tar (addition). */
export const ArchiveImportRequest = z.object({
  file: z.string().describe('uuid of the uploaded archive'),
  /** Name shown in the operation, for example the archive's file name. */
  name: z.string().max(1_024).optional(),
  /** Selects an image of an archive that holds several, by its repository:tag. */
  reference: z.string().max(2_048).optional(),
  tag: z.string().nullable().optional(),
  timeout: z.int().min(1).max(limits.importTimeoutSecondsMax).optional(),
});
export type ArchiveImportRequest = z.infer<typeof ArchiveImportRequest>;

/** Test of a container's health (Docker's image specification). Durations in nanoseconds. */
export const Healthcheck = z.object({
  test: z.array(z.string()),
  interval: z.int().optional(),
  timeout: z.int().optional(),
  start_period: z.int().optional(),
  start_interval: z.int().optional(),
  retries: z.int().optional(),
});
export type Healthcheck = z.infer<typeof Healthcheck>;

/** Fields of an OCI image config that runs and builds use. */
export const ImageConfig = z.object({
  env: z.record(z.string(), z.string()),
  cwd: z.string(),
  user: z.string(),
  entrypoint: z.array(z.string()),
  cmd: z.array(z.string()),
  labels: z.record(z.string(), z.string()),
  /** Fields that builds read and write; absent where an image states none. */
  exposed_ports: z.array(z.string()).optional(),
  volumes: z.array(z.string()).optional(),
  stop_signal: z.string().optional(),
  healthcheck: Healthcheck.optional(),
  /** Instructions that a build from this image runs first. */
  onbuild: z.array(z.string()).optional(),
  /** Shell of commands in shell form (default: `/bin/sh -c`). */
  shell: z.array(z.string()).optional(),
  author: z.string().optional(),
});
export type ImageConfig = z.infer<typeof ImageConfig>;

export const EMPTY_IMAGE_CONFIG: ImageConfig = { env: {}, cwd: '', user: '', entrypoint: [], cmd: [], labels: {} };

/** An image of a lineage and how it was made. */
export const LineageNode = z.object({
  uuid: z.string(),
  parent_uuid: z.string().nullable(),
  tags: z.array(z.string()),
  created_at: z.string(),
  operation_uuid: z.string().nullable(),
  /** `import` for a root image, otherwise the command of its run. */
  command: z.string().nullable(),
  exit_code: z.int().nullable(),
  /** Bytes this image added to its parent. */
  layer_bytes: z.int().nullable(),
});
export type LineageNode = z.infer<typeof LineageNode>;

export const Lineage = z.object({
  image: LineageNode,
  /** Parent first, root last. */
  ancestors: z.array(LineageNode),
  children: z.array(LineageNode),
  root: z.string(),
});
export type Lineage = z.infer<typeof Lineage>;
