import { z } from 'zod';
import { limits } from '../../contract/limits.ts';
import { hiddenFromClients } from './schema.ts';

/** Arguments shared by several tools, so that they are described and validated alike. */

/** UUID or `tag:NAME`: `run` says so for all tools, because each description costs tokens. */
export const image: z.ZodString = z
  .string()
  .min(1)
  .max(limits.tagBytesMax + 4);
export const imagePath = z.string().min(1).max(limits.pathBytesMax);
export const operationId = z.string().min(1).max(64);
export const offset = z.int().min(0).max(1_000_000_000).default(0);
export const since = z.string().max(64).optional().describe('2h, 7d or ISO time');
export const until = hiddenFromClients(z.string().max(64).optional());
export const hint = hiddenFromClients(z.string().optional());

/** Returns a size of pages. A larger one than the maximum means the maximum, so its schema need not name it. */
export function pageSize(max: number): z.ZodPipe<z.ZodInt, z.ZodTransform<number, number>> {
  return z
    .int()
    .min(1)
    .transform((size) => Math.min(size, max));
}

export const count = z.int().min(0);
/** UUID of the image that a call named otherwise, so that later calls mean the same image. */
export const imageUuid = hiddenFromClients(z.string().optional());
