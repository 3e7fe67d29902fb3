import { z } from 'zod';
import { DEFAULT_PROJECT } from './names.ts';
import { PERMISSIONS } from './permissions.ts';

/** Bounds of one token, under the names of `whoami`; an absent one is the server's own. */
export const TokenLimits = z.object({
  instance_max_timeout: z.int().min(1).optional().describe('seconds a run may take'),
  instance_max_concurrency: z.int().min(1).optional().describe('runs waiting or running at the same time'),
  images_import_max_timeout: z.int().min(1).optional().describe('seconds an import may take'),
});
export type TokenLimits = z.infer<typeof TokenLimits>;

export const TokenRequest = z.object({
  name: z.string().max(256).optional(),
  expires_in: z.int().min(1).max(315_360_000).nullable().optional().describe('seconds; null for never'),
  permissions: z.array(z.enum(PERMISSIONS)).min(1).optional().describe('default: everything but admin and metrics'),
  project: z
    .string()
    .max(256)
    .optional()
    .describe('namespace of all that the token sees and makes; default: where its maker works'),
  limits: TokenLimits.optional(),
});
export type TokenRequest = z.infer<typeof TokenRequest>;

/** A token as lists show it: never the secret. */
export const Token = z.object({
  uuid: z.string(),
  name: z.string(),
  created_at: z.string(),
  /** Unix seconds. */
  expires_at: z.int().nullable(),
  permissions: z.array(z.enum(PERMISSIONS)),
  /** Tokens from before there were projects have none. */
  project: z.string().default(DEFAULT_PROJECT),
  limits: TokenLimits.default({}),
});
export type Token = z.infer<typeof Token>;

export const CreatedToken = Token.extend({ token: z.string().describe('shown once') });
export type CreatedToken = z.infer<typeof CreatedToken>;

export const TokenListResponse = z.object({ tokens: z.array(Token) });
