import { connectStdio, type ToolAnswer } from './support/mcp.ts';
import type { Place } from './support/place.ts';
import type { Report } from './support/report.ts';

/** Bytes of an answer. */
interface Size {
  /** Structured content with links, as most clients show it to their models. */
  readonly structured: number;
  /** Text, as the other clients show it. */
  readonly text: number;
}

/** The ten commonest results as they were at 67545b3, on the image of this benchmark. */
const BEFORE: Readonly<Record<string, Size>> = {
  import_image: { structured: 312, text: 190 },
  run: { structured: 322, text: 118 },
  'run that fails': { structured: 361, text: 157 },
  'run that saves': { structured: 505, text: 242 },
  set_tag: { structured: 157, text: 144 },
  'run in the background': { structured: 319, text: 146 },
  'wait_operations of two': { structured: 872, text: 235 },
  list_images: { structured: 376, text: 184 },
  'list_files of 200': { structured: 23_573, text: 7_844 },
  read_file: { structured: 570, text: 294 },
};
/** Larger than all the others together, which it must not hide. */
const LARGEST = 'list_files of 200';

function sizeOf({ structured, text, others }: ToolAnswer): Size {
  const shown = [structured, ...others].map((part) => Buffer.byteLength(JSON.stringify(part)));
  return { structured: shown.reduce((sum, bytes) => sum + bytes, 0), text: Buffer.byteLength(text) };
}

/** Makes the ten calls as an agent does, and returns the size of each answer. */
async function measure({ home, image, reference }: Place): Promise<ReadonlyMap<string, Size>> {
  await using mcp = await connectStdio(home.dataDir);
  const sizes = new Map<string, Size>();
  const call = async (what: string, name: string, args: Readonly<Record<string, unknown>>): Promise<ToolAnswer> => {
    const answer = await mcp.answer(name, args);
    sizes.set(what, sizeOf(answer));
    return answer;
  };
  const field = ({ structured }: ToolAnswer, name: string): unknown => (structured as Record<string, unknown>)[name];
  await call('import_image', 'import_image', { registry_url: reference, tag: 'bench/debian:12' });
  await call('run', 'run', { image, command: 'echo hi' });
  await call('run that fails', 'run', { image, command: 'cat /missing' });
  const saved = await call('run that saves', 'run', { image, command: 'touch /root/x', disposable: false });
  const tag = { image_uuid: field(saved, 'image_uuid'), tag: 'bench/touched/debian:12' };
  await call('set_tag', 'set_tag', tag);
  const started = [
    await call('run in the background', 'run', { image, command: 'echo a', wait: false }),
    await call('run in the background', 'run', { image, command: 'echo b', wait: false }),
  ];
  const ids = started.map((answer) => field(answer, 'operation_id'));
  await call('wait_operations of two', 'wait_operations', { operation_ids: ids });
  await call('list_images', 'list_images', { tag_prefix: 'bench/' });
  await call('list_files of 200', 'list_files', { image, path: '/usr/bin' });
  await call('read_file', 'read_file', { image, path: '/etc/os-release' });
  return sizes;
}

/** Measures what models are shown: each byte of it costs tokens in every later turn of a conversation. */
export async function benchAnswers(place: Place, report: Report): Promise<void> {
  report.section('Answers of tools');
  const sizes = await measure(place);
  for (const [what, { structured, text }] of sizes) {
    const before = BEFORE[what];
    const peer = before && `before: ${before.structured} bytes, text ${before.text}`;
    report.add({ what, value: structured, unit: 'bytes', note: `text: ${text} bytes`, ...(peer && { peer }) });
  }
  const total = (answers: Iterable<readonly [string, Size]>, without = ''): number =>
    [...answers].reduce((sum, [what, { structured }]) => (what === without ? sum : sum + structured), 0);
  for (const [what, without] of [
    ['the ten together', undefined],
    ['the nine small ones together', LARGEST],
  ] as const) {
    const before = total(Object.entries(BEFORE), without);
    const budget = { atMost: Math.floor(before / 2) };
    report.add({ what, value: total(sizes, without), unit: 'bytes', budget, peer: `before: ${before} bytes` });
  }
}
