import { text } from 'node:stream/consumers';
import type { Command } from 'commander';
import { credentialFiles } from '../../config/index.ts';
import { fault } from '../../contract/errors.ts';
import type { CredentialStore } from '../../registry/auth/credential-store.ts';
import type { Cli } from '../cli.ts';
import type { Register, Runner } from '../command.ts';
import { askLine, askSecret } from '../terminal/prompt.ts';
import { registrySettings } from '../../registry/settings.ts';
import { table } from '../text.ts';

/** Options that give an account without a terminal. */
const STDIN_OPTIONS = '--username and --password-stdin';

export const auth: Register = (program, run) => {
  const group = program
    .command('auth')
    .summary('manage registry accounts')
    .description('Manage registry accounts. They are stored on this machine in a file that only you can read.');
  registry(group, run);
  list(group, run);
  remove(group, run);
};

interface RegistryOptions {
  readonly username?: string;
  readonly passwordStdin?: boolean;
  readonly check?: boolean;
}

function registry(group: Command, run: Runner): void {
  group
    .command('registry')
    .description('Sign in to a registry. The secret is read without echo, tried at the registry, and stored.')
    .argument('<host>', 'for example docker.io, ghcr.io or registry.example.org:5000')
    .option('-u, --username <NAME>', 'account name; some registries accept any name with a token')
    .option('--password-stdin', 'read the password or token from standard input')
    .option('--no-check', 'store the account without trying it')
    .action(
      run(async (cli, options: RegistryOptions, [host]: [string]) => {
        const username =
          options.username ?? (options.passwordStdin ? '' : await askLine(cli, `account at ${host}: `, STDIN_OPTIONS));
        const password = options.passwordStdin
          ? (await text(cli.host.stdin)).replace(/\r?\n$/u, '')
          : await askSecret(cli, 'password or token: ', STDIN_OPTIONS);
        if (password === '') throw fault('ARGUMENT_INVALID', { reason: 'the password is empty' });
        // Loaded on demand: most commands never speak to a registry.
        const [{ verifyCredentials }, store] = await Promise.all([
          import('../../registry/auth/sign-in.ts'),
          openStore(cli),
        ]);
        if (options.check !== false) {
          const credentials = { ...(username && { username }), password };
          const settings = await registrySettings(cli.settings, cli.host.env);
          await verifyCredentials(host, credentials, settings, cli.signal);
        }
        await store.set(host, { username, password });
        await cli.print({ registry: host, username }, `signed in to ${cli.name(host)}\n`);
      }),
    );
}

async function openStore(cli: Cli): Promise<CredentialStore> {
  const { CredentialStore: Store } = await import('../../registry/auth/credential-store.ts');
  return new Store(credentialFiles(cli.host.env).own);
}

function list(group: Command, run: Runner): void {
  group
    .command('list')
    .description('List the registries with a stored account. Secrets are never shown.')
    .action(
      run(async (cli) => {
        const accounts = await (await openStore(cli)).list();
        await cli.print(accounts, () => {
          const rows = accounts.map((one) => [cli.name(one.registry), cli.name(one.username) || '-']);
          return table([['REGISTRY', 'ACCOUNT'], ...rows]);
        });
      }),
    );
}

function remove(group: Command, run: Runner): void {
  group
    .command('remove')
    .description('Remove the stored account of a registry.')
    .argument('<host>')
    .action(
      run(async (cli, _options, [host]: [string]) => {
        const removed = await (await openStore(cli)).remove(host);
        await cli.print({ removed }, removed ? '' : `no account for ${cli.name(host)} was stored\n`);
      }),
    );
}
