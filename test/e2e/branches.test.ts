import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { collect } from '../../src/std/bytes.ts';
import { cliHome } from '../support/home.ts';
import { FakeRegistry } from '../support/servers/registry.ts';
import { addBusybox } from '../support/small-image.ts';

const BRANCHES = 50;
/** Number of runs that are commands of their own; the others share one client. */
const COMMANDS = 10;

/** Returns name and content hash of every layer file. */
async function layersOf(dataDir: string): Promise<Map<string, string>> {
  const folder = join(dataDir, 'layers');
  const hashes = (await readdir(folder)).map(async (name) => {
    const hash = createHash('sha256').update(await readFile(join(folder, name)));
    return [name, hash.digest('hex')] as const;
  });
  return new Map(await Promise.all(hashes));
}

test(
  '32: 50 parallel branches that write the same path give 50 results and leave the parent alone',
  { timeout: 300_000 },
  async () => {
    await using registry = await FakeRegistry.start();
    await addBusybox(registry, '1');
    await using home = await cliHome();
    const { result_image_uuid: parent } = await home.json<{ result_image_uuid: string }>([
      'import',
      `docker://${registry.host}/team/app:1`,
    ]);
    const before = await layersOf(home.dataDir);
    for (const [name, hash] of before) assert.equal(name, hash, 'a layer is named by its content');

    await using contree = await home.connect();
    const command = (index: number): string => `echo branch ${index} > /result`;
    const branch = async (index: number): Promise<string | null> => {
      if (index < COMMANDS) {
        const args = ['run', '--keep', parent, '--', 'sh', '-c', command(index)];
        return (await home.json<{ result_image_uuid: string }>(args)).result_image_uuid;
      }
      const { uuid } = await contree.runs.start({ command: command(index), shell: true, image: parent });
      await Array.fromAsync(contree.operations.events(uuid, { follow: true }));
      return (await contree.operations.get(uuid)).result_image_uuid;
    };
    const images = await Promise.all(Array.from({ length: BRANCHES }, (_, index) => branch(index)));

    assert.equal(new Set([...images, parent]).size, BRANCHES + 1);
    for (const [index, image] of images.entries()) {
      assert.ok(image);
      const { body } = await contree.files.read(image, { path: '/result' });
      assert.equal((await collect(body, 100)).toString(), `branch ${index}\n`);
    }
    assert.equal((await home.run(['cat', parent, '/result'])).code, 4, 'the parent has no such file');
    const after = await layersOf(home.dataDir);
    assert.deepEqual(
      [...before],
      [...after].filter(([name]) => before.has(name)),
    );
  },
);
