import { ERROR_CLASSES, fault } from '../../contract/errors.ts';
import { present } from '../../std/present.ts';
import { imageReference } from '../cli.ts';
import type { Register } from '../command.ts';
import { wholeNumber } from '../pages.ts';
import { writeWholeFile } from '../transfer/whole-file.ts';
import { parseBytes } from '../../std/sizes.ts';
import { formatBytes, table } from '../text.ts';

interface GcRequest {
  readonly olderThan?: string;
  readonly maxSize?: string;
  readonly dryRun?: boolean;
}

export const gc: Register = (program, run) => {
  program
    .command('gc')
    .summary('free unused space')
    .description('Free unused space and report what still uses space.')
    .option('--older-than <DAYS>', 'also remove uploads and event logs unused for this long')
    .option('--max-size <SIZE>', 'also remove the least recently used, untagged images included, down to this size')
    .option('-n, --dry-run', 'only report what would be freed')
    .action(
      run(async (cli, options: GcRequest) => {
        const maxBytes = options.maxSize === undefined ? undefined : parseBytes(options.maxSize);
        if (options.maxSize !== undefined && maxBytes === undefined) {
          throw fault('ARGUMENT_INVALID', { reason: '--max-size takes a size such as 20G' });
        }
        const { olderThan } = options;
        const request = {
          ...(olderThan !== undefined && { older_than_days: wholeNumber(olderThan, '--older-than', 0) }),
          ...present({ max_bytes: maxBytes }),
          ...(options.dryRun && { dry_run: true }),
        };
        const report = await (await cli.contree()).system.gc(request, cli.signal);
        await cli.print(report, () => {
          const { images, layers, files, events, templates, usage, used_memory_bytes: memory } = report;
          const what = `${images} images, ${layers} layers, ${files} files, ${events} events, ${templates} templates`;
          const amount = `${formatBytes(report.freed_bytes)} on disk, ${formatBytes(report.freed_memory_bytes)} of memory`;
          const freed = `${options.dryRun ? 'would free' : 'freed'} ${amount}: ${what}\n`;
          return (
            freed +
            table(
              [
                ...usage.map((entry) => [formatBytes(entry.bytes), cli.name(entry.what)]),
                ...(memory > 0 ? [[formatBytes(memory), 'memory of templates in use']] : []),
              ],
              [0],
            )
          );
        });
      }),
    );
};

const MARKS = { ok: '✔', warning: '!', failed: '✘' } as const;

export const doctor: Register = (program, run) => {
  program
    .command('doctor')
    .summary('check this host')
    .description('Check what runs need on this host and report how to get what is missing.')
    .option('--verify', 'also read the whole store and verify every digest')
    .action(
      run(async (cli, options: { verify?: boolean }) => {
        const report = await (await cli.contree()).system.doctor(options.verify ? { verify: true } : {}, cli.signal);
        await cli.print(report, () => {
          const lines = report.checks.flatMap(({ name, status, detail, remedy }) => [
            `${MARKS[status]} ${name}: ${cli.name(detail)}\n`,
            ...(remedy === undefined ? [] : [`    ${remedy}\n`]),
          ]);
          return `contree ${report.version}\n${lines.join('')}`;
        });
        return report.checks.some(({ status }) => status === 'failed') ? ERROR_CLASSES.unavailable.exit : 0;
      }),
    );
};

export const whoami: Register = (program, run) => {
  program
    .command('whoami')
    .summary('show permissions and limits')
    .description('Show the permissions of the token and the limits in effect.')
    .action(
      run(async (cli) => {
        const me = await (await cli.contree()).system.whoami(cli.signal);
        await cli.print(me, () => {
          const may = Object.entries(me.permissions).filter(([, granted]) => granted);
          const limits = Object.entries(me.limits).map(([name, value]) => [name, String(value)]);
          return `may: ${may.map(([name]) => name).join(', ')}\n${table(limits)}`;
        });
      }),
    );
};

export const exportImage: Register = (program, run) => {
  program
    .command('export')
    .summary('export an image as an OCI layout')
    .description('Export an image as an OCI layout in a tar file, which any container tool can read.')
    .argument('<image>', 'tag or UUID')
    .option('-o, --output <FILE>', 'output file (default: standard output)')
    .action(
      run(async (cli, { output }: { output?: string }, [image]: [string]) => {
        if (output === undefined && cli.host.stdout.isTTY) {
          throw fault('ARGUMENT_INVALID', { reason: 'refusing to write a tar to a terminal; use --output FILE' });
        }
        const body = await (await cli.contree()).images.export(imageReference(image), cli.signal);
        if (output === undefined) for await (const chunk of body) await cli.write(chunk);
        else await writeWholeFile(output, { body, executable: false }, cli.signal);
      }),
    );
};
