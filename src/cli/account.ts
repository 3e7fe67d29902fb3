import { text as textOf } from 'node:stream/consumers';
import type { Command } from 'commander';
import { present } from '../std/present.ts';
import type { Cli } from './cli.ts';

/** Options of a command that accepts a registry account. */
export interface AccountOptions {
  readonly username?: string;
  readonly passwordStdin?: boolean;
}

/**
 * Adds the options for a registry account; `what` names its use. A password is never an argument: other users can see
 * command lines.
 */
export function addAccountOptions(command: Command, what: string): Command {
  return command
    .option('-u, --username <NAME>', `registry account, for this ${what} only`)
    .option('--password-stdin', 'read the password from standard input');
}

/** Returns the account given on the command line, or undefined when there is none. */
export async function accountOf(
  cli: Cli,
  { username, passwordStdin }: AccountOptions,
): Promise<{ readonly username?: string; readonly password?: string } | undefined> {
  const password = passwordStdin ? (await textOf(cli.host.stdin)).replace(/\r?\n$/u, '') : undefined;
  if (username === undefined && password === undefined) return undefined;
  return present({ username, password });
}
