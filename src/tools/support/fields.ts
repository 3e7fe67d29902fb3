import { z } from 'zod';
import { ImageSource } from '../../contract/image.ts';
import { limits } from '../../contract/limits.ts';
import { hiddenFromClients } from './schema.ts';

/** Arguments shared by several tools, so that they are described and validated alike. */

export const image = ImageSource.describe('UUID or tag:NAME');
export const imagePath = z.string().min(1).max(limits.pathBytesMax).describe('absolute, in the image');
export const operationId = z.string().min(1).max(64);
export const offset = z.int().min(0).max(1_000_000_000).default(0);
export const since = z.string().max(64).optional().describe('15m, 2h, 7d or ISO time');
export const until = hiddenFromClients(z.string().max(64).optional());
export const hint = hiddenFromClients(z.string().optional());
export const count = z.int().min(0);
/** UUID of the image that a call named otherwise, so that later calls mean the same image. */
export const imageUuid = hiddenFromClients(z.string().optional());
