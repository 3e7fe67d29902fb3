import { z } from 'zod';

/** Bounds of one token, under the names of `whoami`; an absent one is the server's own. */
export const TokenLimits = z.object({
  instance_max_timeout: z.int().min(1).optional().describe('seconds a run may take'),
  instance_max_concurrency: z.int().min(1).optional().describe('runs waiting or running at the same time'),
  images_import_max_timeout: z.int().min(1).optional().describe('seconds an import may take'),
});
export type TokenLimits = z.infer<typeof TokenLimits>;

/** The limits that hold in the end. */
export type Bounds = Readonly<Record<keyof TokenLimits, number>>;

/** For whom something is done: a project, and the token whose limits count, if there is one. */
export interface Tenant {
  readonly project: string;
  /** Its UUID. */
  readonly token?: string;
  readonly limits?: TokenLimits;
  /** Whether it is the owner of the data directory, on this machine; everybody else is a guest of its network. */
  readonly isOwner?: boolean;
}
