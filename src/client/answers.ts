import { z } from 'zod';
import { fault } from '../contract/errors.ts';
import type { SchemaName } from '../contract/api/row.ts';
import { SCHEMAS } from '../contract/api/schemas.ts';
import { Image } from '../contract/image.ts';
import { ImageImportMetadata, OperationResponse, OperationSummary } from '../contract/operation.ts';
import { InstanceResult } from '../contract/run.ts';
import { WhoAmIResponse, Token } from '../contract/server.ts';

/** Fields that are optional in the hosted contract get the value for "unknown". */
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
/** The limits of requests do not apply to answers: a newer server may allow more. */
const AnyInstance = z.looseObject({
  command: z.string(),
  result: InstanceResult.nullish().transform((result) => result ?? {}),
});
const AnyResponse = OperationResponse.extend(summary).extend({
  metadata: z.union([AnyInstance, AnyImport]),
  result: z.object({ image: text, tag: text }).nullable().default(null),
});

const AnyToken = Token.extend({
  permissions: z.array(z.string()),
  limits: z.record(z.string(), z.int()).default({}),
});

/** Lenient schemas for answers of the hosted service and newer servers, which may differ from those of our own. */
const LENIENT: Readonly<Partial<Record<SchemaName, z.ZodType>>> = {
  WhoAmIResponse: WhoAmIResponse.extend({ limits: z.record(z.string(), z.int()).default({}) }),
  Image: AnyImage,
  ImageListResponse: z.object({ images: z.array(AnyImage) }),
  OperationSummaryList: z.array(AnySummary),
  OperationResponse: AnyResponse,
  CreatedToken: AnyToken.extend({ token: z.string() }),
  TokenListResponse: z.object({ tokens: z.array(AnyToken) }),
};

/** Checks an answer of a server that we did not start, with lenient schemas. Faults: REMOTE_FAILED. */
export function checkAnswer(name: SchemaName, value: unknown): unknown {
  const parsed = (LENIENT[name] ?? SCHEMAS[name]).safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const where = issue === undefined ? '' : `${issue.path.map(String).join('.')}: ${issue.message}`;
  throw fault('REMOTE_FAILED', {
    status: 200,
    reason: `an answer in an unknown format (${name}${where && `, ${where}`})`,
  });
}
