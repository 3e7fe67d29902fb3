import { z } from 'zod';
import { fault } from '../contract/errors.ts';
import {
  DiffResult,
  DirectoryList,
  DirectoryState,
  DoctorReport,
  File,
  FileItem,
  FileResponse,
  GcReport,
  GrepResult,
  Image,
  ImageImportMetadata,
  InstanceResult,
  Lineage,
  OperationEvent,
  OperationResponse,
  OperationSummary,
  PushEvent,
  WhoAmIResponse,
} from '../contract/index.ts';
import { DEFAULT_PROJECT } from '../contract/names.ts';

/** Fields that the hosted contract leaves optional get the value that stands for "not known". */
const text = z.string().nullable().default(null);
const number = z.number().nullable().default(null);

const AnyImage = Image.extend({ tag: text, created_at: z.string().default(''), operation_uuid: text });

const summary = {
  error: text,
  created_at: z.string().default(''),
  duration: z
    .number()
    .nullable()
    .default(0)
    .transform((seconds) => seconds ?? 0),
  image_size: number,
  consumed_cpu: number,
  consumed_memory: number,
  image_uuid: text,
  result_image_uuid: text,
};
const AnySummary = OperationSummary.extend(summary);

const AnyImport = ImageImportMetadata.extend({ tag: text, timeout: z.number().default(0) });
/** Bounds of requests do not bind what a server did; a newer one may allow more. */
const AnyInstance = z.looseObject({
  command: z.string(),
  result: InstanceResult.nullish().transform((result) => result ?? {}),
});
const AnyResponse = OperationResponse.extend(summary).extend({
  metadata: z.union([AnyInstance, AnyImport]),
  result: z.object({ image: text, tag: text }).nullable().default(null),
});

const AnyToken = z.object({
  uuid: z.string(),
  name: z.string(),
  created_at: z.string(),
  expires_at: z.int().nullable(),
  permissions: z.array(z.string()),
  project: z.string().default(DEFAULT_PROJECT),
  limits: z.record(z.string(), z.int()).default({}),
});

const list = <Schema extends z.ZodType>(schema: Schema): z.ZodArray<Schema> => z.array(schema);

const ANSWERS = {
  whoami: WhoAmIResponse.extend({ limits: z.record(z.string(), z.int()).default({}) }),
  image: AnyImage,
  images: z.object({ images: list(AnyImage) }),
  lineage: Lineage,
  deleted: z.object({ deleted: list(z.string()) }),
  started: z.object({ uuid: z.string() }),
  spid: z.object({ spid: z.int() }),
  push: PushEvent,
  directory: DirectoryList,
  item: FileItem,
  grep: GrepResult,
  diff: DiffResult,
  uploaded: FileResponse,
  bulk: z.object({ files: list(FileResponse) }),
  file: File,
  files: z.object({ files: list(File) }),
  state: z.object({ state: DirectoryState.optional(), missing: list(z.string()) }),
  operations: list(AnySummary),
  operation: AnyResponse,
  result: InstanceResult,
  event: OperationEvent,
  gc: GcReport,
  doctor: DoctorReport,
  engine: z.object({ version: z.string(), pid: z.int(), started_at: z.string(), busy: z.boolean() }),
  createdToken: AnyToken.extend({ token: z.string() }),
  tokens: z.object({ tokens: list(AnyToken) }),
} as const satisfies Record<string, z.ZodType>;

/** Checks an answer of a server that we did not start. Faults: REMOTE_FAILED. */
export function parseAnswer(name: keyof typeof ANSWERS, value: unknown): unknown {
  const parsed = ANSWERS[name].safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const where = issue === undefined ? '' : `${issue.path.map(String).join('.')}: ${issue.message}`;
  throw fault('REMOTE_FAILED', {
    status: 200,
    reason: `an answer we do not understand (${name}${where && `, ${where}`})`,
  });
}
