import assert from 'node:assert/strict';
import { createWriteStream } from 'node:fs';
import { cp, mkdtemp, rm, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { test } from 'node:test';
import { command } from '../../scripts/support/command.ts';
import { debianImage } from '../../scripts/support/debian-image.ts';
import { startRegistry } from '../../scripts/support/registry.ts';
import { cliHome, ROOT } from '../support/home.ts';

const MANIFEST = join(ROOT, 'test/support/python/manifest.py');
/** Mounts of the guest, which are not part of the image. */
const GUEST_OWN = ['proc', 'sys', 'dev', 'etc/resolv.conf', 'etc/hosts', 'etc/hostname'];

interface Entry {
  readonly path: string;
  readonly type: string;
  readonly [field: string]: unknown;
}

function entriesOf(manifest: string): Map<string, Entry> {
  const entries = manifest
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Entry);
  return new Map(entries.map((entry) => [entry.path, entry]));
}

/** Describes at most 20 differences. */
function differences(
  ours: Map<string, Entry>,
  theirs: Map<string, Entry>,
  ignored: (entry: Entry, field: string) => boolean,
): string[] {
  const found: string[] = [];
  for (const path of new Set([...ours.keys(), ...theirs.keys()])) {
    const [left, right] = [ours.get(path), theirs.get(path)];
    if (left === undefined || right === undefined) {
      found.push(`${JSON.stringify(path)} is only in ${left === undefined ? 'theirs' : 'ours'}`);
      continue;
    }
    for (const field of new Set([...Object.keys(left), ...Object.keys(right)])) {
      const [a, b] = [JSON.stringify(left[field]), JSON.stringify(right[field])];
      if (a !== b && !ignored(left, field)) found.push(`${JSON.stringify(path)} ${field}: ${a} and ${b}`);
    }
  }
  return found.slice(0, 20);
}

/** A Debian image with a second layer of rare entries, as an OCI layout. */
async function oddLayout(folder: string): Promise<string> {
  const layout = join(folder, 'layout');
  await cp((await debianImage()).layout, layout, { recursive: true });
  await command('python3', [join(ROOT, 'test/support/python/odd_layer.py'), join(folder, 'odd.tar')]);
  await command('umoci', ['raw', 'add-layer', '--image', `${layout}:debian`, join(folder, 'odd.tar')]);
  return layout;
}

test(
  'a whole Debian image is the same for umoci, for our reader and for the running guest',
  { timeout: 600_000 },
  async () => {
    const folder = await mkdtemp(join(tmpdir(), 'contree-debian-'));
    try {
      const layout = await oddLayout(folder);
      await command('umoci', ['unpack', '--image', `${layout}:debian`, join(folder, 'umoci')]);
      const umoci = entriesOf(await command('python3', [MANIFEST, join(folder, 'umoci/rootfs'), ...GUEST_OWN]));
      assert.ok(umoci.size > 10_000, `the image has ${umoci.size} entries`);
      // umoci sets the time of a later layer's parent directories to that of unpacking; overlayfs and we do not.
      const umociTimes = (entry: Entry, field: string): boolean => field === 'mtime' && entry.type === 'directory';

      await using registry = await startRegistry();
      const reference = await registry.push(layout, 'debian', 'library/odd:latest');
      await using home = await cliHome();
      await home.json(['import', reference, '--tag', 'odd']);
      await using contree = await home.connect();

      const archive = join(folder, 'ours.tar');
      await pipeline(await contree.files.archive('tag:odd', { path: '/' }), createWriteStream(archive));
      const ours = entriesOf(
        await command('python3', [join(ROOT, 'test/support/python/tar_manifest.py'), archive, ...GUEST_OWN]),
      );
      // The archive has no member for its own root.
      umoci.delete('.');
      assert.deepEqual(differences(ours, umoci, umociTimes), [], 'our reader and umoci');

      const script = await readFile(MANIFEST);
      const guest = await home.run(
        ['run', '--disposable', '--timeout', '300', 'tag:odd', '--', 'python3', '-', '/', ...GUEST_OWN],
        {
          input: script,
          timeoutMs: 400_000,
        },
      );
      assert.equal(guest.code, 0, guest.stderr);
      const seen = entriesOf(guest.stdout);
      seen.delete('.');
      const differing = differences(ours, seen, () => false);
      assert.deepEqual(differing, [], 'our reader and the guest');
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
);
