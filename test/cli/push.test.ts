import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { command } from '../../scripts/support/command.ts';
import { REGISTRY_ACCOUNT, startRegistry } from '../../scripts/support/registry.ts';
import { cliHome, type CliHome, execute } from '../support/home.ts';
import { Scratch } from '../support/layers.ts';
import { tarOf } from '../support/tar.ts';

const { username, password } = REGISTRY_ACCOUNT;

/** An image of a few unusual files, imported as a root filesystem. */
async function importOdd(home: CliHome, scratch: Scratch): Promise<string> {
  const archive = join(scratch.folder, 'root.tar');
  const members = [
    { path: 'bin/', flag: '5', mode: 0o755, mtime: 1_600_000_000 },
    { path: 'bin/tool', content: '#!/bin/sh\n'.repeat(1000), mode: 0o4755, uid: 7, gid: 8, mtime: 1_600_000_001 },
    { path: 'bin/same', flag: '1', linkname: 'bin/tool' },
    { path: 'link', flag: '2', linkname: '/bin/tool' },
    { path: 'häß', content: 'x', pax: { path: 'h\xc3\xa4\xc3\x9f', mtime: '1600000000.5' } },
  ];
  await writeFile(archive, tarOf(members));
  const { result_image_uuid: image } = await home.json<{ result_image_uuid: string }>(['import', archive]);
  return image;
}

/** Returns all files of an image as a tar, which is equal for equal files. */
async function packed(home: CliHome, scratch: Scratch, image: string): Promise<Buffer> {
  const path = scratch.path();
  assert.equal((await home.run(['cp', `${image}:/`, path])).code, 0);
  return readFile(path);
}

test('an image is pushed, and skopeo, umoci and an import agree with it', async () => {
  await using registry = await startRegistry({ closed: true });
  await using home = await cliHome();
  await using scratch = await Scratch.create();
  const image = await importOdd(home, scratch);
  const reference = `${registry.host}/team/app:v1`;

  const refused = await home.run(['push', image, reference]);
  assert.equal(refused.code, 3, refused.stderr);
  assert.match(refused.stderr, /refused access \(HTTP 401\)/u);
  const account = ['--username', username, '--password-stdin'];
  const pushed = await home.run(['--json', 'push', ...account, image, reference], { input: `${password}\n` });
  assert.equal(pushed.code, 0, pushed.stderr);
  const { reference: full, digest } = JSON.parse(pushed.stdout) as { reference: string; digest: string };
  assert.equal(full, `docker://${reference}`);

  const creds = `${username}:${password}`;
  const inspect = ['inspect', '--tls-verify=false', '--creds', creds, `docker://${reference}`];
  assert.equal((JSON.parse(await command('skopeo', inspect)) as { Digest: string }).Digest, digest);
  const copy = scratch.path();
  const source = ['--src-tls-verify=false', '--src-creds', creds, `docker://${reference}`];
  await command('skopeo', ['copy', '--quiet', '--insecure-policy', ...source, `oci:${copy}:image`]);
  await command('umoci', ['unpack', '--image', `${copy}:image`, `${copy}-unpacked`]);
  const rootfs = join(`${copy}-unpacked`, 'rootfs');
  assert.equal(await readFile(join(rootfs, 'bin/tool'), 'utf8'), '#!/bin/sh\n'.repeat(1000));
  const facts = ['-c', '%a %u:%g %Y %h', join(rootfs, 'bin/tool')];
  assert.equal((await command('stat', facts)).trim(), '4755 7:8 1600000001 2');

  const again = await home.run(['--json', 'import', '--no-tag', ...account, reference], { input: password });
  assert.equal(again.code, 0, again.stderr);
  const { result_image_uuid: copied } = JSON.parse(again.stdout) as { result_image_uuid: string };
  const { entries } = await home.json<{ entries: unknown[] }>(['diff', image, copied]);
  assert.deepEqual(entries, [], 'the image that came back is the image that was pushed');
  assert.deepEqual(await packed(home, scratch, copied), await packed(home, scratch, image));
});

test('a push fails with a reason, ends with its reader, and leaves no secret behind', async () => {
  await using registry = await startRegistry({ closed: true });
  await using home = await cliHome();
  await using scratch = await Scratch.create();
  const image = await importOdd(home, scratch);
  const reference = `${registry.host}/team/app:v1`;
  const cases: readonly (readonly [args: readonly string[], code: number, message: RegExp])[] = [
    [['push', image, 'UPPER/Case:x y'], 2, /not an image reference/u],
    [['push', image, 'docker://169.254.169.254/app:1'], 3, /will not connect/u],
    [['push', image, '127.0.0.1:1/app:1'], 9, /cannot be reached|refused/u],
    [['push', 'no-such-tag', reference], 4, /no image/u],
    [['push', '--username', username, '--password-stdin', image, reference], 3, /refused access/u],
  ];
  for (const [args, code, message] of cases) {
    const result = await home.run(args, { input: 'a-wrong-secret-word' });
    assert.equal(result.code, code, `${args.join(' ')}: ${result.stderr}`);
    assert.match(result.stderr, message);
  }
  const kept = await execute('grep', ['-rlaF', '--exclude-dir=microvm', 'a-wrong-secret-word', home.dataDir]);
  assert.equal(kept.stdout, '', 'no file of the data directory has it');
});
