import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { command } from '../../scripts/support/command.ts';
import { cliHome, execute, ROOT, type CliHome, type CliResult } from '../support/home.ts';
import { cutAfter, FakeRegistry, status } from '../support/servers/registry.ts';
import { addBusybox } from '../support/small-image.ts';

const CONTREE = join(ROOT, 'bin/contree');

/** Sandbox of a run. */
interface Ran {
  readonly execution: { readonly sandbox: string; readonly accelerator: string };
}

let home: CliHome;
let registry: FakeRegistry;

before(async () => {
  registry = await FakeRegistry.start();
  home = await cliHome();
});

after(async () => {
  await home[Symbol.asyncDispose]();
  await registry[Symbol.asyncDispose]();
});

function url(name: string): string {
  return `docker://${registry.host}/team/app:${name}`;
}

/** Asserts that the command failed with this code, a reason and a next step. */
function refused(result: CliResult, exitCode: number, ...words: readonly RegExp[]): void {
  assert.equal(result.code, exitCode, `${result.stdout}${result.stderr}`);
  for (const word of words) assert.match(result.stderr, word);
  assert.doesNotMatch(result.stderr, /\n\s+at .*\.[jt]s:/u, 'no stack for a user');
}

/** Asserts that nothing of a failed operation stays in the data directory. */
async function assertNothingLeft(): Promise<void> {
  assert.deepEqual(await readdir(join(home.dataDir, 'tmp')), []);
}

test('an unknown image or tag says how to find one', async () => {
  refused(await home.run(['run', 'tag:no/such', '--', 'true']), 4, /tag:no\/such/u, /images/u);
  refused(await home.run(['ls', '00000000-0000-4000-8000-000000000000', '/']), 4, /00000000-0000/u, /images/u);
});

test('a registry that is down, denies, lacks the image or limits the rate is told apart', async () => {
  const down = await FakeRegistry.start();
  const gone = `docker://${down.host}/team/app:1`;
  await down[Symbol.asyncDispose]();
  refused(await home.run(['import', gone]), 9, /does not answer/u);
  registry.on(/manifests\/denied/u, status(401, { 'www-authenticate': 'Basic realm="x"' }));
  refused(await home.run(['import', url('denied')]), 3, /refused access/u, /contree auth registry/u);
  refused(await home.run(['import', url('missing')]), 4, /no image/u);
  registry.on(/manifests\/limited/u, status(429, { 'retry-after': '1' }));
  refused(await home.run(['import', url('limited')]), 9, /limits the rate/u);
  await assertNothingLeft();
});

test('a wrong digest and a truncated blob make no image', async () => {
  await addBusybox(registry, 'wrong');
  registry.on(/GET .*blobs/u, (_, response) => void response.writeHead(200, { 'content-length': 5 }).end('bogus'), 20);
  refused(await home.run(['import', url('wrong')]), 10, /digest|bytes/u);
  registry.on(/GET .*blobs/u, cutAfter(registry, 10), 40);
  const cut = await home.run(['import', url('wrong')]);
  assert.notEqual(cut.code, 0);
  assert.deepEqual(await home.json(['images']), []);
  await assertNothingLeft();
});

test('a corrupt tar is refused', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'contree-corrupt-'));
  try {
    const file = join(folder, 'broken.tar');
    await writeFile(file, Buffer.alloc(10_240, 'x'));
    const result = await home.run(['import', file]);
    assert.ok(result.code === 2 || result.code === 10, `${result.code} ${result.stderr}`);
    assert.match(result.stderr, /archive|malformed/u);
    await assertNothingLeft();
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test('a command that is not in the image is a result: exit 127', async () => {
  await using honest = await FakeRegistry.start();
  await addBusybox(honest, 'ok');
  await home.json(['import', `docker://${honest.host}/team/app:ok`, '--tag', 'busybox']);
  const result = await home.run(['run', 'tag:busybox', '--', 'no-such-program', 'x']);
  assert.equal(result.code, 127, result.stderr);
  assert.match(result.stderr, /no-such-program/u);
  assert.equal((await home.run(['run', 'tag:busybox', '--', 'sh', '-c', 'exit 3'])).code, 3);
});

test('an accelerator that does not work is not used, and the result says so', async () => {
  const [newest] = await home.json<readonly { uuid: string }[]>(['ops', '--kind', 'instance']);
  const { execution } = await home.json<Ran>(['show', newest?.uuid ?? '']);
  assert.equal(execution.sandbox, 'microvm');
  assert.match(execution.accelerator, /^(?:kvm|emulated)$/u);
  const doctor = await home.run(['doctor']);
  assert.match(doctor.stdout, new RegExp(execution.accelerator, 'u'));
});

test('without QEMU the answer names the package to install, and a run gets gVisor if that works', async () => {
  await using bare = await cliHome();
  await using honest = await FakeRegistry.start();
  await addBusybox(honest, 'ok');
  // A mount namespace in which the program does not exist; the engine that is started there has the same view.
  const qemu = (await command('sh', ['-c', 'command -v qemu-system-x86_64'])).trim();
  const hidden = `mount --bind /dev/null ${qemu} && exec "$@"`;
  const inside = (args: readonly string[]): Promise<CliResult> =>
    execute('unshare', ['--mount', 'sh', '-c', hidden, 'sh', process.execPath, CONTREE, ...args], {
      env: { CONTREE_DATA_DIR: bare.dataDir, CONTREE_CONFIG: '/dev/null' },
    });
  assert.equal((await inside(['import', `docker://${honest.host}/team/app:ok`, '--tag', 'busybox'])).code, 0);
  refused(await inside(['run', '--sandbox', 'microvm', 'tag:busybox', '--', 'true']), 9, /qemu/iu, /qemu-system-x86/u);
  assert.equal(
    (await inside(['cat', 'tag:busybox', '/etc/group'])).stdout,
    'root:x:0:\n',
    'images can be read all the same',
  );
  const doctor = await inside(['doctor']);
  assert.match(doctor.stdout, /qemu-system-x86/u);
  const run = await inside(['--json', 'run', 'tag:busybox', '--', 'true']);
  if (!/sandbox: gvisor/u.test(doctor.stdout)) return refused(run, 9, /qemu-system-x86/u);
  assert.equal(doctor.code, 0, doctor.stdout);
  assert.equal(run.code, 0, run.stderr);
  assert.equal((JSON.parse(run.stdout) as Ran).execution.sandbox, 'gvisor');
});

test('a full disk fails what needs the space, and the store stays whole', async () => {
  const mount = await mkdtemp(join(tmpdir(), 'contree-full-'));
  await command('mount', ['-t', 'tmpfs', '-o', 'size=300m', 'tmpfs', mount]);
  try {
    await using small = await cliHome(mount);
    await using honest = await FakeRegistry.start();
    await addBusybox(honest, 'ok');
    await small.json(['import', `docker://${honest.host}/team/app:ok`, '--tag', 'busybox']);
    // A busy machine takes long to fill even this little.
    const write = ['run', '--keep', '--timeout', '900', 'tag:busybox', 'dd if=/dev/zero of=/big bs=1M count=400'];
    const full = await small.run(write);
    assert.equal(full.code, 6, `${full.code} ${full.stderr}`);
    assert.match(full.stderr, /full/u);
    assert.equal((await small.run(['cat', 'tag:busybox', '/etc/group'])).stdout, 'root:x:0:\n');
    assert.equal((await small.run(['doctor', '--verify'])).code, 0);
  } finally {
    await command('umount', ['-l', mount]);
    await rm(mount, { recursive: true, force: true });
  }
});
