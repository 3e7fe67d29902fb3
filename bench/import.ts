import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { command } from '../scripts/support/command.ts';
import { cliHome } from '../test/support/home.ts';
import { writeBigImage } from './support/big-image.ts';
import { sample, sampleOf, timeMs } from './support/measure.ts';
import { forgetPeak, memoryOfEngine, type Place } from './support/place.ts';
import type { Report } from './support/report.ts';

const IMPORTS = 5;
const BIG_LAYER_BYTES = 2e9;
/** A new engine makes its template first, which is not part of the import. */
const SETTLE_MS = 10_000;

interface Imported {
  readonly result_image_uuid: string;
}

/** Measures an import into a store that has nothing of the image, by a warm engine. */
async function importTime(place: Place, report: Report): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'contree-bench-import-'));
  const oursMs: number[] = [];
  const peerMs: number[] = [];
  try {
    await using home = await cliHome();
    const ours = (): Promise<Imported> => home.json(['import', place.reference]);
    let { result_image_uuid: image } = await ours();
    // Makes the template before the first measurement.
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
    const again = await sample(5, ours);
    report.add({ what: 'import of the same image again, unchanged, p50', value: again.medianMs, unit: 'ms' });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function megabytes(mib: number): number {
  return (mib * 1024 ** 2) / 1e6;
}

/** Measures the memory that a layer of 2 GB costs an otherwise idle engine. */
async function importMemory({ registry }: Place, report: Report): Promise<void> {
  const layout = await mkdtemp(join(tmpdir(), 'contree-bench-big-'));
  try {
    await writeBigImage(layout, BIG_LAYER_BYTES);
    const reference = await registry.push(layout, 'big', 'big:1');
    await using home = await cliHome();
    await home.json(['images']);
    await delay(SETTLE_MS);
    // A second engine, for which the template exists.
    await home.run(['engine', 'stop']);
    await home.json(['images']);
    await delay(SETTLE_MS / 5);
    const before = await memoryOfEngine(home.dataDir);
    await forgetPeak(home.dataDir);
    await home.json<Imported>(['import', reference]);
    const { peakMib } = await memoryOfEngine(home.dataDir);
    report.add({
      what: 'memory that the import of a layer of 2 GB adds to an engine, peak',
      value: megabytes(peakMib - before.nowMib),
      unit: 'MB',
      budget: { atMost: 150 },
    });
    report.add({
      what: 'the whole engine process meanwhile, peak',
      value: megabytes(peakMib),
      unit: 'MB',
      budget: { atMost: 150 },
      note: `before the import ${megabytes(before.nowMib).toFixed(0)} MB, of which some 56 MB are the program text of Node`,
    });
  } finally {
    await rm(layout, { recursive: true, force: true });
  }
}

/** Measures an import: time compared with skopeo and umoci, and memory. */
export async function benchImport(place: Place, report: Report): Promise<void> {
  report.section('Import');
  await importTime(place, report);
  await importMemory(place, report);
}
