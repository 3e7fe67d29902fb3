import { sample, samplePair } from './support/measure.ts';
import type { Place } from './support/place.ts';
import type { Report } from './support/report.ts';

const DEPTH = 200;
const RUNS = 9;
const READS = 200;

/** A chain of saved runs: the image after one and after `DEPTH`. */
async function line(place: Place): Promise<{ readonly near: string; readonly deep: string }> {
  let image = place.image;
  let near = image;
  for (let depth = 1; depth <= DEPTH; depth += 1) {
    const command = `echo ${depth} > /root/file-${depth % 60}; echo ${depth} >> /etc/motd; rm -f /root/file-${(depth + 30) % 60}`;
    const { result_image_uuid: made } = await place.run({ image, command, shell: true, disposable: false });
    if (made == null) throw new Error(`run ${depth} of the line made no image`);
    image = made;
    if (depth === 1) near = made;
  }
  return { near, deep: image };
}

/** Measures the cost of depth. Budget: depth 200 takes at most twice as long as depth 1. */
export async function benchDepth(place: Place, report: Report): Promise<void> {
  report.section('Depth');
  const { near, deep } = await line(place);
  const { contree } = place;
  const read = async (image: string): Promise<void> => {
    const { body } = await contree.files.read(image, { path: '/etc/mke2fs.conf', offset: 0, length: 4096 });
    for await (const chunk of body) void chunk;
  };
  const compared: readonly (readonly [string, number, (image: string) => Promise<unknown>])[] = [
    ['list a directory', READS, (image) => contree.files.list(image, { path: '/etc' })],
    ['read up to 4 KiB of a file', READS, read],
    ['run of /bin/true, disposable', RUNS, (image) => place.run({ image, command: '/bin/true', disposable: true })],
    [
      'run of python3 -c "import json"',
      RUNS,
      (image) => place.run({ image, command: 'python3', args: ['-c', 'import json'], disposable: true }),
    ],
  ];
  for (const [what, count, work] of compared) {
    await sample(3, () => work(deep));
    const pair = await samplePair(
      count,
      () => work(deep),
      () => work(near),
    );
    report.add({
      what: `${what} at depth ${DEPTH}, over depth 1 (${place.accelerator})`,
      value: pair.ratio,
      unit: '×',
      budget: { atMost: 2 },
      peer: `depth 1 ${pair.peer.medianMs.toFixed(1)} ms, depth ${DEPTH} ${pair.ours.medianMs.toFixed(1)} ms`,
    });
  }
}
