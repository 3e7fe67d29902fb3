import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { command } from '../scripts/support/command.ts';
import { debianImage } from '../scripts/support/debian-image.ts';
import type { DirectoryStateEntry } from '../src/contract/file.ts';
import { limits } from '../src/contract/limits.ts';
import { defined } from '../src/std/assert.ts';
import { sample, samplePair } from './support/measure.ts';
import type { Place } from './support/place.ts';
import type { Report } from './support/report.ts';

const INJECTED_FILES = 5_000;

/** The same files and one more, in a separate layer. */
async function unrelated({ home, contree }: Place): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'contree-bench-diff-'));
  try {
    const { tar } = await debianImage();
    const copy = join(folder, 'root.tar');
    await copyFile(tar, copy);
    await writeFile(join(folder, 'one-more'), 'x');
    await command('tar', ['--append', '--file', copy, '--directory', folder, 'one-more']);
    const { result_image_uuid: image } = await home.json<{ result_image_uuid: string }>(['import', copy]);
    await contree.files.list(image, { path: '/' });
    return image;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function inspecting(place: Place, report: Report): Promise<void> {
  const { contree, image } = place;
  const list = await sample(200, () => contree.files.list(image, { path: '/etc' }), 10);
  report.add({
    what: 'list a directory over the socket, p50',
    value: list.medianMs,
    unit: 'ms',
    budget: { atMost: 3 },
  });
  const read = await sample(
    200,
    async () => {
      const file = await contree.files.read(image, { path: '/etc/mke2fs.conf', offset: 0, length: 4096 });
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
  const near = await sample(20, () => contree.images.diff(image, { to: child }));
  report.add({
    what: 'diff of an image and its child, 11,000 files, p50',
    value: near.medianMs,
    unit: 'ms',
    budget: { atMost: 300 },
  });
  const other = await unrelated(place);
  const far = await sample(5, () => contree.images.diff(image, { to: other }));
  report.add({
    what: 'diff of two images of 11,000 files that share no layer, p50',
    value: far.medianMs,
    unit: 'ms',
    budget: { atMost: 300 },
  });
}

async function searching({ contree, image, layout }: Place, report: Report): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'contree-bench-grep-'));
  try {
    await command('umoci', ['unpack', '--image', `${layout}:debian`, join(folder, 'tree')]);
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
      () => contree.files.grep(image, { pattern: [pattern], path: ['/usr'], max_total: limits.grepMatchesMax }),
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

/**
 * Measures a run with a synced set of files. The set is one layer: once it is made, the run costs what any run does.
 */
async function injecting(place: Place, report: Report): Promise<void> {
  const { contree } = place;
  const contents = Array.from({ length: INJECTED_FILES }, (_, index) => Buffer.from(`file ${index}\n`.repeat(20)));
  const entries: DirectoryStateEntry[] = [];
  for (let at = 0; at < contents.length; at += limits.bulkFilesMax) {
    const uploaded = await contree.uploads.createMany(each(contents.slice(at, at + limits.bulkFilesMax)));
    for (const [index, { sha256 }] of uploaded.entries()) {
      entries.push({ path: `/srv/${index % 50}/${at + index}`, sha256, mode: 0o644 });
    }
  }
  const { state } = await contree.uploads.offerDirectory({ entries });
  const directory_states = [defined(state, 'every file was uploaded').id];
  const pair = await samplePair(
    9,
    () => place.run({ command: '/bin/true', disposable: true, directory_states }),
    () => place.run({ command: '/bin/true', disposable: true }),
  );
  report.add({
    what: `run with ${INJECTED_FILES.toLocaleString('en')} injected files, over one without`,
    value: pair.ratio,
    unit: '×',
    budget: { atMost: 1.1 },
    peer: `without ${pair.peer.medianMs.toFixed(0)} ms, with ${pair.ours.medianMs.toFixed(0)} ms`,
  });
}

// eslint-disable-next-line typescript/require-await -- an upload takes an async iterable.
async function* each<Value>(values: readonly Value[]): AsyncGenerator<Value> {
  yield* values;
}

/** Measures inspection of images without a VM. */
export async function benchImages(place: Place, report: Report): Promise<void> {
  report.section('Images');
  await inspecting(place, report);
  await searching(place, report);
  await injecting(place, report);
}
