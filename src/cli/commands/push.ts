import { present } from '../../std/present.ts';
import { imageReference } from '../cli.ts';
import type { Register } from '../command.ts';
import { type AccountOptions, accountOf, addAccountOptions } from '../account.ts';
import { ProgressLine } from '../terminal/progress.ts';
import { formatBytes } from '../text.ts';

export const push: Register = (program, run) => {
  const command = program
    .command('push')
    .summary('push an image to a registry')
    .description(
      'Push an image to a registry, where any container tool can pull it. Layers the registry has are not sent again.',
    )
    .argument('<image>', 'tag or UUID')
    .argument('<reference>', 'destination, for example ghcr.io/owner/image:tag');
  addAccountOptions(command, 'push').action(
    run(async (cli, options: AccountOptions, [image, url]: [string, string]) => {
      const credentials = await accountOf(cli, options);
      const contree = await cli.contree();
      using progress = new ProgressLine(cli);
      progress.show('pushing');
      const request = { registry: present({ url, credentials }) };
      for await (const event of contree.images.push(imageReference(image), request, cli.signal)) {
        if (event.type === 'pushed') {
          await cli.print({ reference: event.reference, digest: event.digest }, `${event.reference}@${event.digest}\n`);
          continue;
        }
        const {
          layers_done: done,
          layers_total: all,
          packed_bytes: packed,
          total_bytes: total,
          sent_bytes: sent,
        } = event;
        const text = `layers ${done}/${all}, packed ${formatBytes(packed)} of ${formatBytes(total)}, sent ${formatBytes(sent)}`;
        progress.show(text, packed, total);
      }
    }),
  );
};
