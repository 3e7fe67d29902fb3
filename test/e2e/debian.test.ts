import assert from 'node:assert/strict';
import { createWriteStream } from 'node:fs';
import { cp, mkdtemp, rm, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { after, before, test } from 'node:test';
import { command } from '../../scripts/support/command.ts';
import { debianImage } from '../../scripts/support/debian-image.ts';
import { startRegistry } from '../../scripts/support/registry.ts';
import { isFault } from '../../src/contract/errors.ts';
import type { HttpContree } from '../../src/client/index.ts';
import { collect } from '../../src/std/bytes.ts';
import { completion, executed, opened } from '../conformance/instances.ts';
import { hasRunsc } from '../support/gvisor.ts';
import { cliHome, type CliHome, ROOT } from '../support/home.ts';
import { until } from '../support/time/until.ts';

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

/** Asked first: hooks run when a file waits after them. */
const gvisor = await hasRunsc();
let folder: string;
let layout: string;
let home: CliHome;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'contree-debian-'));
  layout = await oddLayout(folder);
  await using registry = await startRegistry();
  const reference = await registry.push(layout, 'debian', 'library/odd:latest');
  home = await cliHome();
  await home.json(['import', reference, '--tag', 'odd']);
});

after(async () => {
  await home[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

/** Returns the entries of a folder of an image, as our reader has them. */
async function archived(contree: HttpContree, image: string, path: string, skipped: readonly string[] = []) {
  const archive = join(folder, 'ours.tar');
  await pipeline(await contree.files.archive(image, { path }), createWriteStream(archive));
  const manifest = join(ROOT, 'test/support/python/tar_manifest.py');
  return entriesOf(await command('python3', [manifest, archive, ...skipped]));
}

test(
  'a whole Debian image is the same for umoci, for our reader and for the running guest',
  { timeout: 600_000 },
  async () => {
    await command('umoci', ['unpack', '--image', `${layout}:debian`, join(folder, 'umoci')]);
    const umoci = entriesOf(await command('python3', [MANIFEST, join(folder, 'umoci/rootfs'), ...GUEST_OWN]));
    assert.ok(umoci.size > 10_000, `the image has ${umoci.size} entries`);
    // umoci sets the time of a later layer's parent directories to that of unpacking; overlayfs and we do not.
    const umociTimes = (entry: Entry, field: string): boolean => field === 'mtime' && entry.type === 'directory';

    await using contree = await home.connect();
    const ours = await archived(contree, 'tag:odd', '/', GUEST_OWN);
    // The archive has no member for its own root.
    umoci.delete('.');
    assert.deepEqual(differences(ours, umoci, umociTimes), [], 'our reader and umoci');

    const script = await readFile(MANIFEST);
    const listing = ['run', '--disposable', '--timeout', '300', 'tag:odd', '--', 'python3', '-', '/', ...GUEST_OWN];
    const guest = await home.run(listing, { input: script, timeoutMs: 400_000 });
    assert.equal(guest.code, 0, guest.stderr);
    const seen = entriesOf(guest.stdout);
    seen.delete('.');
    const differing = differences(ours, seen, () => false);
    assert.deepEqual(differing, [], 'our reader and the guest');
  },
);

/** Attributes of two files, of which one is changed in each of two steps, without a change of anything else. */
const MARK = `import os, sys
step = int(sys.argv[1])
for name in ("a", "b") if step == 1 else ("a",):
  path = "/srv/" + name
  open(path, "a").close()
  os.setxattr(path, "user.step", b"%d\\xff" % step)
  os.setxattr(path, "security.capability", bytes.fromhex("0100000200" + ("04" if step == 1 else "20") + "00" * 14))
  os.utime(path, (1, 1))
if step == 2: os.removexattr("/srv/b", "user.step")`;

/** Writes each line of its input to a file through memory that it shares with it, and nothing else. */
const MAPPED = `import mmap, os, sys
with open("/srv/mapped", "wb") as f: f.truncate(1 << 20)
f = os.open("/srv/mapped", os.O_RDWR)
m = mmap.mmap(f, 1 << 20)
print("ready", flush=True)
for line in sys.stdin:
  m[:3] = m[1 << 19:(1 << 19) + 3] = line[:3].encode()
  print("wrote", flush=True)`;

/** A process that runs and never stops, with its parent as its debugger. */
const TRACED = `import ctypes, os
if os.fork() == 0:
  ctypes.CDLL(None).ptrace(0, 0, 0, 0)
  print("traced", flush=True)
  while True: pass
os.wait()`;

if (gvisor) {
  test('gvisor: a snapshot names the traced process that prevents it, and succeeds once the tracing ends', async () => {
    await using contree = await home.connect();
    const uuid = await opened(contree, { image: 'tag:odd', sandbox: 'gvisor' });
    const { spid } = await contree.processes.start(uuid, { command: 'python3', args: ['-c', TRACED] });
    await until(async () => (await contree.processes.get(uuid, spid)).stdout?.value === 'traced\n');
    await assert.rejects(contree.instances.snapshot(uuid), (error) => {
      assert.ok(isFault(error, 'SNAPSHOT_FAILED'));
      assert.match(
        error.message,
        /process \d+ \(python3\) is traced by process \d+ \(python3\).*end the tracing first/u,
      );
      return true;
    });
    assert.equal((await executed(contree, uuid, { command: 'true' })).state?.exit_code, 0, 'the instance goes on');
    await contree.processes.kill(uuid, spid);
    await executed(contree, uuid, { command: 'touch /srv/x', shell: true });
    assert.equal((await contree.instances.snapshot(uuid)).changed, true);
    await contree.instances.close(uuid, { keep: false });
    await completion(contree, uuid);
  });
}

for (const sandbox of gvisor ? (['gvisor', 'microvm'] as const) : (['microvm'] as const)) {
  test(`${sandbox}: snapshots have attributes, capabilities and mapped memory`, async () => {
    await using contree = await home.connect();
    const uuid = await opened(contree, { image: 'tag:odd', sandbox });
    const python = (source: string, args: readonly string[] = []) => ({
      command: 'python3',
      args: ['-c', source, ...args],
    });
    const { spid } = await contree.processes.start(uuid, { ...python(MAPPED), stdin: { value: '', close: false } });
    const said = (text: string) => until(async () => (await contree.processes.get(uuid, spid)).stdout?.value === text);
    await said('ready\n');
    let output = 'ready\n';
    /** Changes attributes and mapped memory, and returns the image of them. */
    const step = async (number: number, text: string): Promise<string> => {
      const marked = await executed(contree, uuid, python(MARK, [String(number)]));
      assert.equal(marked.state?.exit_code, 0, marked.stderr?.value);
      await contree.processes.write(uuid, spid, { value: `${text}\n`, close: false });
      await said((output += 'wrote\n'));
      return (await contree.instances.snapshot(uuid)).image;
    };
    const images = [await step(1, 'one'), await step(2, 'two')];
    await contree.instances.close(uuid, { tag: `${sandbox}/closed` });
    assert.equal((await completion(contree, uuid)).data.result_image_uuid, images[1], 'nothing else was changed');
    for (const [index, image] of images.entries()) {
      const entries = await archived(contree, image, '/srv');
      const of = (name: string) => [...entries].find(([path]) => path.endsWith(name))?.[1]['xattrs'];
      const capability = (bits: string) => `0100000200${bits}${'00'.repeat(14)}`;
      const now = {
        'user.step': index === 0 ? '31ff' : '32ff',
        'security.capability': capability(index === 0 ? '04' : '20'),
      };
      const before = { 'user.step': '31ff', 'security.capability': capability('04') };
      const { 'user.step': _, ...without } = before;
      assert.deepEqual([of('a'), of('b')], [now, index === 0 ? before : without]);
      const mapped = await collect((await contree.files.read(image, { path: '/srv/mapped' })).body, 1 << 20);
      const text = index === 0 ? 'one' : 'two';
      assert.deepEqual(
        [mapped.subarray(0, 3).toString(), mapped.subarray(1 << 19, (1 << 19) + 3).toString()],
        [text, text],
      );
    }
  });
}
