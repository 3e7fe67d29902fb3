import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { command } from '../scripts/support/command.ts';
import { cliHome } from '../test/support/home.ts';
import { sample, samplePair, sampleOf, timeMs } from './support/measure.ts';
import type { Place } from './support/place.ts';
import type { Report } from './support/report.ts';

const IMPORTS = 5;

/** Import into a store that has nothing of the image, by an engine that is warm. */
async function importing(place: Place, report: Report): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'contree-bench-import-'));
  const oursMs: number[] = [];
  const peerMs: number[] = [];
  try {
    await using home = await cliHome();
    const ours = (): Promise<{ result_image_uuid: string }> => home.json(['import', place.reference]);
    let { result_image_uuid: image } = await ours();
    // The template is made now, not beside the first measurement.
    await home.run(['run', '--disposable', image, '--', 'true']);
    for (let turn = 0; turn < IMPORTS; turn += 1) {
      await home.run(['rm', image]);
      await home.run(['gc']);
      oursMs.push(await timeMs(async () => ({ result_image_uuid: image } = await ours())));
      const copy = join(folder, `copy-${turn}`);
      const source = ['--src-tls-verify=false', place.reference];
      peerMs.push(
        await timeMs(async () => {
          await command('skopeo', ['copy', '--quiet', '--insecure-policy', ...source, `oci:${copy}:image`]);
          await command('umoci', ['unpack', '--image', `${copy}:image`, `${copy}-unpacked`]);
        }),
      );
    }
    const [own, peer] = [sampleOf(oursMs).medianMs, sampleOf(peerMs).medianMs];
    report.add({
      what: 'import of a 270 MB, 11,000-file image from a loopback registry, ratio',
      value: own / peer,
      unit: '×',
      budget: { atMost: 0.5 },
      peer: `skopeo copy + umoci unpack ${peer.toFixed(0)} ms; ours ${own.toFixed(0)} ms, the command line included`,
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function inspecting(place: Place, report: Report): Promise<void> {
  const { contree, image } = place;
  const list = await sample(200, () => contree.listDirectory(image, '/etc'), 10);
  report.add({
    what: 'list a directory over the socket, p50',
    value: list.medianMs,
    unit: 'ms',
    budget: { atMost: 3 },
  });
  const read = await sample(
    200,
    async () => {
      const file = await contree.openFile(image, '/etc/mke2fs.conf', { offset: 0, length: 4096 });
      for await (const chunk of file.body) void chunk;
    },
    10,
  );
  report.add({
    what: 'read up to 4 KiB of a file over the socket, p50',
    value: read.medianMs,
    unit: 'ms',
    budget: { atMost: 3 },
  });
  const changed = await place.run({
    command: 'touch /etc/new && rm /etc/motd && echo x >> /etc/passwd',
    shell: true,
    disposable: false,
  });
  const child = changed.result_image_uuid ?? '';
  const near = await sample(20, () => contree.diff(image, child));
  report.add({
    what: 'diff of an image and its child, 11,000 files, p50',
    value: near.medianMs,
    unit: 'ms',
    budget: { atMost: 300 },
  });
  const folder = await mkdtemp(join(tmpdir(), 'contree-bench-grep-'));
  try {
    await command('umoci', ['unpack', '--image', `${place.layout}:debian`, join(folder, 'tree')]);
    const pattern = 'PermissionError';
    const ripgrep = [
      '--text',
      '--hidden',
      '--no-ignore',
      '--no-messages',
      '--count',
      pattern,
      join(folder, 'tree/rootfs/usr'),
    ];
    const pair = await samplePair(
      5,
      () => contree.grep(image, { patterns: [pattern], paths: ['/usr'], maxTotal: 100_000 }),
      () => command('rg', ripgrep).catch(() => ''),
    );
    report.add({
      what: 'grep of a 10,000-file tree, ratio to ripgrep on the unpacked tree',
      value: pair.ratio,
      unit: '×',
      budget: { atMost: 3 },
      peer: `ripgrep ${pair.peer.medianMs.toFixed(0)} ms, ours ${pair.ours.medianMs.toFixed(0)} ms`,
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Import and inspection: DESIGN §9. */
export async function benchImages(place: Place, report: Report): Promise<void> {
  report.section('Images');
  await importing(place, report);
  await inspecting(place, report);
}
