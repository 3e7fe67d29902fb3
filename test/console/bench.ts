import { join } from 'node:path';
import { LayerBuilder } from '../../src/layers/layer-builder.ts';
import { EMPTY_IMAGE_CONFIG } from '../../src/contract/image.ts';
import { NO_XATTRS } from '../../src/erofs/node.ts';
import { Activity } from '../../src/http/activity.ts';
import { createApp, type AppOptions } from '../../src/http/app.ts';
import { OWNER } from '../../src/http/auth.ts';
import { listen } from '../../src/http/listen.ts';
import { SILENT } from '../../src/http/log.ts';
import { folderMount } from '../../src/http/static.ts';
import { pathFromText } from '../../src/std/path-text.ts';
import { mcpMount } from '../../src/app/mcp-mount.ts';
import type { StoredImage } from '../../src/store/images.ts';
import { openEngine, once, run, script, type BenchOptions, type EngineBench } from '../engine/bench.ts';

/** A server with the console, over the engine and the fake driver. */
export interface ConsoleBench extends AsyncDisposable {
  readonly engine: EngineBench;
  readonly address: string;
}

export async function openConsole(
  options: BenchOptions & Partial<Pick<AppOptions, 'authentication'>> = {},
): Promise<ConsoleBench> {
  await using parts = new AsyncDisposableStack();
  const engine = parts.use(await openEngine(options));
  const mcp = parts.use(mcpMount({ version: 'test', log: () => undefined }));
  const page = await folderMount(join(import.meta.dirname, '../../console'));
  if (page === undefined) throw new Error('the console has no page');
  const closing = new AbortController();
  const app = createApp({
    contreeFor: (principal) => engine.engine.forTenant(principal),
    log: SILENT,
    version: 'test',
    authentication: options.authentication ?? { kind: 'fixed', principal: OWNER },
    origin: { names: [], anyHost: false },
    mounts: [mcp, page],
    closing: closing.signal,
  });
  const { address } = parts.use(await listen(app, { kind: 'tcp', host: '127.0.0.1', port: 0 }, new Activity()));
  parts.defer(() => closing.abort());
  const owned = parts.move();
  return { engine, address, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** Hostile file names: each would affect a page, a terminal or a parser that used it unescaped. */
export const HOSTILE_NAMES: readonly string[] = [
  '<img src=x onerror=alert(1)>',
  '"><svg onload=document.title="owned">',
  '\u001b[31mred\u001b[0m',
  'photo\u202egnp.exe',
  'two\nlines',
  'zero\u200bwidth',
  '%2e%2e%2fetc',
  'a b#c?d&e=f',
];

export const MANY_FILES = 10_000;

/** Makes an image of large, numerous and hostile files. */
export async function addHardImage({ store }: EngineBench): Promise<StoredImage> {
  await using staged = store.layers.stage();
  await using builder = await LayerBuilder.create(staged.path);
  const metadata = { mode: 0o644, uid: 0, gid: 0, mtimeSeconds: 1_700_000_000, mtimeNanoseconds: 0, xattrs: NO_XATTRS };
  const add = async (path: string, text: string | Buffer): Promise<void> => {
    const content = Buffer.from(text);
    await builder.add(pathFromText(path), { ...metadata, type: 'file', size: content.length, content: once(content) });
  };
  for (const [index, name] of HOSTILE_NAMES.entries()) await add(`hostile/${name}`, `${index} ${name}\n`);
  for (let index = 0; index < MANY_FILES; index += 1) await add(`many/file-${String(index).padStart(5, '0')}`, '');
  await add('large.txt', 'A line of text that is read a part at a time.\n'.repeat(5_000));
  await add('program', Buffer.from([0x7f, 0x45, 0x4c, 0x46, 0, 1, 2, 3, 0xff, 0xfe]));
  await builder.add('link', { ...metadata, mode: 0o777, type: 'symlink', target: 'large.txt' });
  const layer = await store.layers.publish(staged, await builder.finish());
  return store.images.create({ layers: [layer.digest], config: EMPTY_IMAGE_CONFIG });
}

/** Makes a lineage: a base with a tagged child, two branches of it, and a disposable run. */
export async function addFamily(bench: EngineBench): Promise<{ readonly tagged: string; readonly branches: string[] }> {
  const { engine, base } = bench;
  await engine.tags.set(base.uuid, { tag: 'common/base' });
  const child = await run(engine, script(bench, 'echo "first line" > /root/notes.txt; echo "installed"'));
  const tagged = child.result_image_uuid ?? '';
  await engine.tags.set(tagged, { tag: 'common/python-ml/python:3.11-slim' });
  const branches: string[] = [];
  for (const fix of ['fix_a', 'fix_b']) {
    const branch = await run(
      engine,
      script(bench, `echo "${fix}" > /root/notes.txt; echo new > /root/${fix}`, { image: tagged }),
    );
    branches.push(branch.result_image_uuid ?? '');
  }
  await run(engine, script(bench, 'echo checked; false', { image: tagged, disposable: true }));
  return { tagged, branches };
}
