import { text as textOf } from 'node:stream/consumers';
import type { Command } from 'commander';
import type { Cli } from './cli.ts';

/** Options of a command that may bring an account at a registry. */
export interface AccountOptions {
  readonly username?: string;
  readonly passwordStdin?: boolean;
}

/** `what` is what the account is for. A password is never an argument: other users see a command line. */
export function addAccountOptions(command: Command, what: string): Command {
  return command
    .option('-u, --username <NAME>', `account at the registry, for this ${what} only`)
    .option('--password-stdin', 'read its password from standard input');
}

/** The account that the command line brings, or undefined when it brings none. */
export async function accountOf(
  cli: Cli,
  { username, passwordStdin }: AccountOptions,
): Promise<{ readonly username?: string; readonly password?: string } | undefined> {
  const password = passwordStdin ? (await textOf(cli.host.stdin)).replace(/\r?\n$/u, '') : undefined;
  if (username === undefined && password === undefined) return undefined;
  return { ...(username !== undefined && { username }), ...(password !== undefined && { password }) };
}
