import { fault } from '../../contract/errors.ts';
import type { InstanceOpenRequest } from '../../contract/instance.ts';
import { present } from '../../std/present.ts';
import { imageReference, type Cli } from '../cli.ts';
import type { Register } from '../command.ts';
import {
  addProcessOptions,
  addSandboxOptions,
  append,
  environment,
  processFields,
  sandboxFields,
  type ProcessOptions,
  type SandboxOptions,
} from '../sandbox-options.ts';
import { openInstance, portLine, portNumbers, secondsOf } from './instance.ts';

interface OpenOptions extends ProcessOptions, SandboxOptions {
  readonly disposable?: boolean;
  readonly tag?: string;
  readonly idleTimeout?: string;
  readonly lifetime?: string;
  readonly checkpoint?: string;
  readonly publish?: readonly string[];
  readonly quiet?: boolean;
}

export const open: Register = (program, runner) => {
  const command = program
    .command('open')
    .summary('open an instance of an image that stays')
    .description(
      'Open an instance of an image: a sandbox that stays until it is closed, in which commands are executed again and ' +
        'again (contree exec). Prints its UUID, then the addresses of its published ports.',
    )
    .argument('<image>', 'tag or UUID')
    .option('-p, --publish <PORT[:HOSTPORT]>', 'make a port of the guest reachable on this machine', append)
    .option('-D, --disposable', 'discard the changes at the end')
    .option('--tag <TAG>', 'tag of the image that is kept at the end')
    .option('--idle-timeout <TIME>', 'close it after this time without use, for example 30m (default: 30m)')
    .option('--lifetime <TIME>', 'close it after this time in any case (default: 24h)')
    .option('--checkpoint <COUNT|TIME>', 'make an image after so many commands (10) or after such a time (5m)')
    .option('-q, --quiet', 'print the UUID only');
  addProcessOptions(command);
  addSandboxOptions(command);
  command.action(
    runner(async (cli, options: OpenOptions, [image]: [string]) => {
      const request = await openRequest(cli, image, options);
      const contree = await cli.contree();
      const { uuid } = await openInstance(contree, request, cli.signal);
      const { ports } = await contree.instances.get(uuid, cli.signal);
      const lines = options.quiet ? [] : ports.map(portLine);
      await cli.print({ instance: uuid, ports }, [uuid, ...lines].map((line) => `${line}\n`).join(''));
    }),
  );
};

async function openRequest(cli: Cli, image: string, options: OpenOptions): Promise<InstanceOpenRequest> {
  const { disposable, tag, publish, idleTimeout, lifetime, checkpoint, env } = options;
  if (disposable && tag !== undefined) {
    throw fault('ARGUMENT_INVALID', { reason: '--disposable keeps no image; leave out --tag' });
  }
  return {
    image: imageReference(image),
    ...processFields(options),
    ...(await sandboxFields(cli, options)),
    ...present({
      disposable,
      tag,
      env: env && environment(env, cli.host.env),
      publish: publish?.map(portNumbers),
      idle_timeout: idleTimeout === undefined ? undefined : secondsOf(idleTimeout, '--idle-timeout'),
      lifetime: lifetime === undefined ? undefined : secondsOf(lifetime, '--lifetime'),
      checkpoint: checkpoint === undefined ? undefined : checkpointOf(checkpoint),
    }),
  };
}

/** Parses a number of commands (`10`) or a time (`90s`, `5m`). */
function checkpointOf(text: string): { commands: number } | { seconds: number } {
  const isCount = /^\d+$/u.test(text) && Number(text) > 0;
  return isCount ? { commands: Number(text) } : { seconds: secondsOf(text, '--checkpoint') };
}
