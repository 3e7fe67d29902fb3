import assert from 'node:assert/strict';
import { gzipSync } from 'node:zlib';
import { after } from 'node:test';
import type { BuildRequest } from '../../../src/contract/build.ts';
import type { OperationEvent } from '../../../src/contract/event.ts';
import type { DirectoryStateEntry } from '../../../src/contract/file.ts';
import type { ImageConfig } from '../../../src/contract/image.ts';
import type { OperationResponse } from '../../../src/contract/operation.ts';
import { streamBytes } from '../../../src/contract/stream.ts';
import { downloader } from '../../../src/images/import/download.ts';
import { listing } from '../../support/layers.ts';
import { tarOf } from '../../support/tar.ts';
import { followed, once, openEngine } from '../bench.ts';

/** Number of layers of each guest that was started. */
export const layersBooted: number[] = [];

/** Engine of one test file, with the tag `base`. Builds may download from 127.0.0.1, and from no other private address. */
export const bench = await openEngine({
  download: downloader({ allowed: ['127.0.0.1'] }),
  hooks: { beforeBoot: async ({ layers }) => void layersBooted.push(layers.length) },
});
bench.store.tags.set('base', bench.base.uuid);
after(async () => bench[Symbol.asyncDispose]());

/** Content of a file, or a file with its mode, or a directory (mode alone), or a symlink. */
export type Given = string | { readonly text?: string | Buffer; readonly mode?: number; readonly link?: string };

/** Makes a context of these files. */
export async function contextOf(files: Readonly<Record<string, Given>>): Promise<NonNullable<BuildRequest['context']>> {
  const entries: DirectoryStateEntry[] = [];
  for (const [path, given] of Object.entries(files)) {
    const { text, mode = 0o644, link } = typeof given === 'string' ? { text: given } : given;
    const content = text === undefined ? undefined : await bench.engine.uploads.create(once(text));
    entries.push({
      path: `/${path}`,
      mode,
      ...(content !== undefined && { sha256: content.sha256 }),
      ...(link !== undefined && { symlink_to: link }),
    });
  }
  const { state } = await bench.engine.uploads.offerDirectory({ entries });
  assert.ok(state);
  return { directory_state: state.id };
}

export interface Built {
  readonly operation: OperationResponse;
  readonly lines: readonly string[];
  readonly events: readonly OperationEvent[];
}

export async function build(request: BuildRequest): Promise<Built> {
  const { uuid } = await bench.engine.images.build(request);
  const events = await followed(bench.engine, uuid);
  const lines = events
    .filter((event) => event.type === 'stdout' && event.spid === 0)
    .flatMap(({ data }) =>
      streamBytes(data as never)
        .toString()
        .trimEnd()
        .split('\n'),
    );
  return { operation: await bench.engine.operations.get(uuid), lines, events };
}

/** Builds, and returns the image. */
export async function built(
  dockerfile: string,
  files: Readonly<Record<string, Given>> = {},
  more: Partial<BuildRequest> = {},
): Promise<{
  readonly uuid: string;
  readonly config: ImageConfig;
  readonly lines: readonly string[];
  readonly steps: readonly string[];
}> {
  const { operation, lines } = await build({ dockerfile_text: dockerfile, context: await contextOf(files), ...more });
  assert.equal(operation.status, 'SUCCESS', operation.error ?? '');
  const uuid = operation.result?.image ?? '';
  const { config } = bench.store.images.get(uuid);
  const { image, ancestors } = bench.store.images.lineage(uuid);
  const steps = [image, ...ancestors].map(({ command }) => command ?? '').toReversed();
  return { uuid, config, lines, steps };
}

/** Files of an image as `listing` shows them, below a path. */
export async function filesOf(uuid: string, below = '/'): Promise<string[]> {
  const layers = await bench.store.layers.files(bench.store.images.get(uuid).layers);
  return (await listing(layers)).filter((line) => line.startsWith(below));
}

export async function failed(
  request: BuildRequest | string,
  files: Readonly<Record<string, Given>> = {},
): Promise<OperationResponse> {
  const whole = typeof request === 'string' ? { dockerfile_text: request, context: await contextOf(files) } : request;
  const { operation } = await build(whole);
  assert.equal(operation.status, 'FAILED');
  return operation;
}

/** A context with files, a link and archives. */
export const FILES: Readonly<Record<string, Given>> = {
  d: { mode: 0o750 },
  'd/a': { text: 'a', mode: 0o640 },
  'd/l': { link: 'a' },
  'd/e': { mode: 0o755 },
  'd/e/b.txt': 'b',
  'root/bin/tool': { text: 'T', mode: 0o755 },
  't.tgz': {
    text: gzipSync(
      tarOf([
        { path: 'in', flag: '5', mode: 0o755, uid: 3, gid: 4 },
        { path: 'in/f', content: 'f', mode: 0o600, uid: 3, gid: 4 },
      ]),
    ),
  },
  't.txz': {
    text: Buffer.from(
      '/Td6WFoAAATm1rRGAgAhARYAAAB0L+Wj4Cf/AGpdADSbgd6V4XBV4z1CMml0LxrFNkb2nzbH68ImIT11Eq5Q4HzA0/xExjYXpYwOVVHDxeTLUILMUy6Soj+GWTv8+VlIqHT6RGR1V21btzQIUJga8mrjhmPPDJs0256J36jN7yLWZGQL4AFyCwAAAADZFSqFH/xQtAABhgGAUAAAI5I5t7HEZ/sCAAAAAARZWg==',
      'base64',
    ),
  },
  't.tbz': {
    text: Buffer.from(
      'QlpoOTFBWSZTWVYm+JMAAIt7gNGAAADAAP+AAAZhIR4ACAggAHUJRNQYgGnqaNASSjJiAAaHqPzOmbEEgIRSQjDGpdLM0MpMRJiEMAyqbsgjHEAQ5e4QYjTPGgqkmZ46yIIWH+qtj0cccoJB+LuSKcKEgrE3xJg=',
      'base64',
    ),
  },
  'text.gz': { text: gzipSync('no archive') },
};
