import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { tarOf } from '../support/tar.ts';
import { collect } from '../../src/std/bytes.ts';
import { runHere, type RunOptions } from '../support/cli-bench.ts';
import { openTestAgent } from '../support/ssh-agent.ts';
import { serveBench } from '../support/servers/served-engine.ts';
import { Scratch } from '../support/layers.ts';

test('contree build sends a folder, shows its steps and prints the image; then only what changed', async () => {
  await using served = await serveBench();
  await using scratch = await Scratch.create();
  const { engine, directory, store, base } = served.bench;
  store.tags.set('base', base.uuid);
  const cli = (args: readonly string[], options: RunOptions = {}): ReturnType<typeof runHere> =>
    runHere(directory, args, { terminal: true, ...options });
  const write = (path: string, text: string): void => writeFileSync(join(scratch.folder, path), text);
  mkdirSync(join(scratch.folder, 'keys'));
  mkdirSync(join(scratch.folder, 'left', 'kept'), { recursive: true });
  write('Dockerfile', 'FROM base\nARG A=none\nRUN echo $A > /a\nCOPY . /app\n');
  write('.dockerignore', 'left\n!left/kept\nDockerfile\n');
  write('.gitignore', 'out.bin\n');
  write('out.bin', 'built, and ignored by git only');
  write('keys/id_rsa', '-----BEGIN OPENSSH PRIVATE KEY-----');
  write('left/no', 'no');
  write('left/kept/yes', 'yes');

  const first = await cli(['build', '-t', 'app', '--build-arg', 'A=1', scratch.folder]);
  assert.equal(first.code, 0, first.stderr);
  const uuid = first.stdout.trim();
  assert.equal(store.tags.find('app'), uuid);
  assert.match(first.stderr, /5 files, 5 sent\n/u);
  assert.match(first.stderr, /#3 \[stage 0 2\/3\] RUN echo \$A > \/a\n#3 DONE/u);
  const read = async (path: string): Promise<string> =>
    (await collect((await engine.files.read(uuid, { path })).body, 1_000)).toString();
  assert.equal(await read('/a'), '1\n');
  assert.equal(await read('/app/left/kept/yes'), 'yes');
  assert.equal(await read('/app/out.bin'), 'built, and ignored by git only');
  assert.match(await read('/app/keys/id_rsa'), /PRIVATE KEY/u);
  await assert.rejects(engine.files.stat(uuid, { path: '/app/left/no' }), { code: 'FILE_NOT_FOUND' });
  await assert.rejects(engine.files.stat(uuid, { path: '/app/Dockerfile' }), { code: 'FILE_NOT_FOUND' });

  write('out.bin', 'built again');
  const second = await cli(['build', scratch.folder], { env: { A: '1' } });
  assert.equal(second.code, 0, second.stderr);
  assert.match(second.stderr, /5 files, 1 sent\n/u);
  const third = await cli(['build', '--build-arg', 'A', scratch.folder], { env: { A: '1' } });
  assert.match(third.stderr, /#3 CACHED/u);
  assert.match(third.stderr, /5 files, 0 sent\n/u);

  write('token', 'hush');
  const secret = ['build', '--secret', `id=s,src=${join(scratch.folder, 'token')}`, '--secret', 'id=v,env=V', '-'];
  const needed = 'FROM base\nRUN --mount=type=secret,id=s,required --mount=type=secret,id=v,required touch /s\n';
  assert.equal((await cli(secret, { input: needed, env: { V: 'x' } })).code, 0);
  assert.match((await cli(secret, { input: needed })).stderr, /there is no value for v/u);

  const failing = await cli(['build', '-'], { input: 'FROM base\nRUN echo why && false\n' });
  assert.equal(failing.code, 2);
  assert.match(failing.stderr, /#2 why\n#2 FAILED\n/u);
  assert.match(failing.stderr, /^error: line 2 of the Dockerfile: .*\n  why\n/mu);
  assert.match(
    failing.stderr,
    /error: line 2 of the Dockerfile: RUN echo why && false: exit code 1; the image before it is/u,
  );

  const archive = join(scratch.folder, 'context.tar');
  writeFileSync(archive, tarOf([{ path: 'D', content: 'FROM base\nCOPY D /d' }]));
  assert.equal((await cli(['build', '-f', 'D', archive])).code, 0);
  assert.match((await cli(['build', join(scratch.folder, 'nowhere')])).stderr, /nowhere/u);
  assert.match((await cli(['build', 'https://host/a.git'])).stderr, /not a URL or a repository; clone it/u);
  assert.match((await cli(['build', '--build-arg', '=1', scratch.folder])).stderr, /a name stands before the =/u);
});

test('contree build --ssh lends the agent of the user, that of a socket, or one of its own with keys', async () => {
  await using served = await serveBench();
  await using agent = await openTestAgent();
  served.bench.store.tags.set('base', served.bench.base.uuid);
  const cli = (ssh: readonly string[], env: Readonly<Record<string, string>> = {}): ReturnType<typeof runHere> =>
    runHere(served.bench.directory, ['build', ...ssh.flatMap((text) => ['--ssh', text]), '-'], {
      input: 'FROM base\nENV A=1\n',
      env: { PATH: process.env['PATH'] ?? '', ...env },
    });
  // The engine refuses a socket that is not there.
  const lent = await cli(['default', `own=${agent.keyFile}`, `other=${agent.socket}`], { SSH_AUTH_SOCK: agent.socket });
  assert.equal(lent.code, 0, lent.stderr);
  for (const [ssh, reason] of [
    [['default'], /SSH_AUTH_SOCK is not set/u],
    [['a=/nowhere'], /no socket or key at \/nowhere/u],
    [[`a=${agent.socket}`, `a=${agent.socket}`], /a is given twice/u],
    [[`a=${agent.socket},${agent.keyFile}`], /one socket, or keys/u],
    [['=x'], /it needs default or ID/u],
  ] as const) {
    const { code, stderr } = await cli(ssh);
    assert.equal(code, 2);
    assert.match(stderr, reason);
  }
});
