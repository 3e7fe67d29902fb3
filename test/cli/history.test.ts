import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { writeBuildFolder } from '../../src/cli/history/build-folder.ts';
import { runInstructions } from '../../src/cli/history/run-instruction.ts';
import type { ImageConfig, LineageNode } from '../../src/contract/image.ts';
import type { OperationInstanceMetadata } from '../../src/contract/operation.ts';
import { executed, opened } from '../conformance/instances.ts';
import { finished, once, openEngine, run, script, type EngineBench } from '../engine/bench.ts';
import { openCli } from '../support/cli-bench.ts';

const { signal } = new AbortController();

async function lineOf({ engine }: EngineBench, image: string): Promise<LineageNode[]> {
  const { image: last, ancestors } = await engine.images.lineage(image);
  return [last, ...ancestors].toReversed();
}

/** Writes the history of an image as a folder. */
async function written(bench: EngineBench, image: string, folder: string) {
  const path = join(folder, image);
  const { missing } = await writeBuildFolder({ contree: bench.engine, signal }, await lineOf(bench, image), path);
  return { path, missing, text: await readFile(join(path, 'Dockerfile'), 'utf8') };
}

async function scratch(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'contree-history-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

test('the history of an image as a Dockerfile builds the same tree', async () => {
  await using bench = await openEngine();
  await using place = await scratch();
  const { engine } = bench;
  const upload = await engine.uploads.create(once('injected\n'));
  const { state } = await engine.uploads.offerDirectory({
    entries: [
      { path: '/srv', mode: 0o751, uid: 3, gid: 4 },
      { path: '/srv/app', sha256: upload.sha256, mode: 0o640, uid: 5, gid: 6 },
      { path: '/srv/link', symlink_to: 'app', mode: 0o777 },
      { path: '/etc/passwd', removed: true, mode: 0 },
    ],
  });
  const first = await run(engine, script(bench, 'mkdir /usr/bin; touch /usr/bin/rm; echo one > /root/one'));
  const second = await run(engine, {
    ...script(bench, 'cat /in > /root/two; rm /in'),
    image: first.result_image_uuid!,
    files: { '/in': { uuid: upload.uuid, mode: '0600', uid: 7, gid: 8 } },
    directory_states: [state!.id],
  });
  const third = await run(engine, { command: 'touch', args: ['/with space'], image: second.result_image_uuid! });
  const image = third.result_image_uuid!;
  const before = bench.store.images.count();
  const { path, missing, text } = await written(bench, image, place.path);
  assert.equal(bench.store.images.count(), before, 'nothing is left behind');
  assert.deepEqual(missing, []);
  assert.match(text, /^FROM scratch\nADD root\.tar \/$/mu);
  assert.match(text, /^RUN mkdir .* echo one > \/root\/one$/mu);
  assert.match(text, /^# files-1\.tar: "\/in"$/mu);
  await assertSame(bench, path, image);
  await assert.rejects(written(bench, image, place.path), { code: 'DESTINATION_EXISTS' });
});

/** Builds a written folder and asserts that the image has the same files as another one, and the same configuration. */
async function assertSame({ engine, store }: EngineBench, path: string, image: string): Promise<void> {
  const context = execFileSync('tar', ['-C', path, '-cf', '-', '.'], { maxBuffer: 1e8 });
  const { uuid: file } = await engine.uploads.create(once(context));
  const built = await finished(engine, (await engine.images.build({ context: { file } })).uuid);
  assert.equal(built.status, 'SUCCESS', `${built.error ?? ''}\n${await readFile(join(path, 'Dockerfile'), 'utf8')}`);
  const { entries } = await engine.images.diff(image, { to: built.result_image_uuid! });
  // What ran again has its own times.
  const differing = entries.filter(
    (entry) => entry.change !== 'metadata' || entry.mode !== entry.mode_before || entry.owner !== entry.owner_before,
  );
  assert.deepEqual(differing, []);
  const { PATH = '', ...env } = store.images.get(built.result_image_uuid!).config.env;
  assert.match(PATH, /^\/usr\/local\/sbin:/u, 'FROM scratch sets it');
  const { config } = store.images.get(image);
  const { PATH: _, ...own } = config.env;
  assert.deepEqual({ ...store.images.get(built.result_image_uuid!).config, env }, { ...config, env: own });
}

test('steps of a build, with the files that they copied, and snapshots build the same tree again', async () => {
  await using bench = await openEngine();
  await using place = await scratch();
  const { engine, store } = bench;
  store.tags.set('base', bench.base.uuid);
  const upload = await engine.uploads.create(once('copied\n'));
  const { state } = await engine.uploads.offerDirectory({
    entries: [
      { path: '/app', mode: 0o751 },
      { path: '/app/one', sha256: upload.sha256, mode: 0o640 },
      { path: '/app/link', symlink_to: 'one', mode: 0o777 },
      { path: '/passwd', sha256: upload.sha256, mode: 0o600 },
    ],
  });
  const dockerfile = `FROM base
ARG NAME
ENV A="x y" PLACE=/srv/$NAME
LABEL "k l"=v
COPY --chown=7:8 app $PLACE/app
COPY passwd /etc/passwd
WORKDIR $PLACE
RUN mkdir /usr/bin /gone /old && touch "by-$NAME" /usr/bin/rm
RUN --mount=type=bind,source=app,target=/m mkdir /gone /old && touch /of-bind /gone/x /old/x
EXPOSE 80 443/udp
VOLUME /data
HEALTHCHECK --interval=90s CMD true
ENTRYPOINT ["a"]
CMD b c
SHELL ["/bin/sh", "-ec"]
STOPSIGNAL SIGINT
USER 7`;
  const request = { dockerfile_text: dockerfile, context: { directory_state: state!.id }, build_args: { NAME: 'n' } };
  const first = await finished(engine, (await engine.images.build(request)).uuid);
  assert.equal(first.status, 'SUCCESS', first.error ?? '');
  const uuid = await opened(engine, { image: first.result_image_uuid!, uid: 0 });
  for (const command of ['rm -r /gone /of-bind', 'rm -r /old', 'touch /old', 'echo s > /snap'])
    await executed(engine, uuid, { command, shell: true });
  const { image } = await engine.instances.snapshot(uuid);
  await engine.instances.close(uuid, { keep: false });
  const empty = await finished(
    engine,
    (await engine.images.build({ dockerfile_text: 'FROM scratch\nLABEL a=b' })).uuid,
  );
  const ofEmpty = await written(bench, empty.result_image_uuid!, place.path);
  await assertSame(bench, ofEmpty.path, empty.result_image_uuid!);
  const { path, missing, text } = await written(bench, image, place.path);
  assert.deepEqual(missing, []);
  assert.match(text, /^USER 0:0\nRUN --network=none \["\/bin\/rm","-rf","--",.*"\/gone".*\]\nUSER 7$/mu);
  assert.ok(!text.includes('$NAME"\n'), 'what used an argument that only the build knew is written by its result');
  await assertSame(bench, path, image);
});

const CONFIG: Partial<ImageConfig> = {
  env: { QUOTED: 'a "b" $c \\' },
  cwd: '/root',
  entrypoint: ['e'],
  cmd: ['c', 'd e'],
  labels: { 'l m': 'n' },
  exposed_ports: ['80/tcp'],
  volumes: ['/v w'],
  stop_signal: 'SIGQUIT',
  healthcheck: { test: ['CMD-SHELL', 'x | y'], interval: 90_000_000_000, retries: 2 },
  onbuild: ['RUN never'],
  shell: ['/bin/sh', '-uc'],
};

test('what cannot be run again is written by its result, and what no instruction can say is told', async () => {
  await using bench = await openEngine({ config: CONFIG });
  await using place = await scratch();
  const { engine, store } = bench;
  const upload = await engine.uploads.create(once('gone'));
  const typed = await run(engine, script(bench, 'cat > /typed', { stdin: { value: 'x' } }));
  const gone = await run(engine, {
    ...script(bench, 'touch /made'),
    image: typed.result_image_uuid!,
    files: { '/in': { uuid: upload.uuid } },
    env: { KEPT: '1' },
    preserve_env: true,
  });
  await store.gc({ dryRun: false, unusedSinceMs: Date.now() + 1, usedBy: () => undefined });
  const same = await written(bench, gone.result_image_uuid!, place.path);
  assert.deepEqual(same.missing, []);
  for (const line of ['had standard input, which is not stored: cat > /typed', 'are no longer stored: touch /made'])
    assert.ok(same.text.includes(line), line);
  await assertSame(bench, same.path, gone.result_image_uuid!);

  const secret = await run(engine, {
    ...script(bench, 'touch /secret', { env: { API_KEY: 'hush' } }),
    image: gone.result_image_uuid!,
  });
  const uuid = await opened(engine, { image: secret.result_image_uuid! });
  await executed(engine, uuid, { command: 'rm /secret', shell: true });
  const { image } = await engine.instances.snapshot(uuid);
  await engine.instances.close(uuid, { keep: false });
  const { missing, text } = await written(bench, image, place.path);
  assert.deepEqual(missing, [
    'the value of API_KEY: give it to the build, --secret id=API_KEY,env=API_KEY',
    'that "/secret" are removed: the image has no rm',
  ]);
  for (const line of missing) assert.ok(text.includes(`# MISSING: ${line}\n`), line);
  assert.ok(!text.includes('hush'));
  assert.match(
    text,
    /^RUN --mount=type=secret,id=API_KEY <<'EOF'\nexport API_KEY="\$\(cat \/run\/secrets\/API_KEY\)"$/mu,
  );
});

test('a RUN does what the run did, however it was written', () => {
  const base = { image: 'i', uid: 0, gid: 0, result: {} } as const;
  const linesOf = (run: Partial<OperationInstanceMetadata> & { command: string }, exitCode = 0): string =>
    runInstructions({ ...base, ...run }, exitCode).lines.join('\n');
  assert.equal(linesOf({ command: 'make all', shell: true }), 'USER 0:0\nRUN make all');
  assert.equal(linesOf({ command: 'tool', args: ["it's", '$HOME'] }), "USER 0:0\nRUN tool 'it'\\''s' '$HOME'");
  assert.equal(
    linesOf({ command: 'a', uid: 5, gid: 6, networking: { enabled: false } }),
    'USER 5:6\nRUN --network=none a',
  );
  for (const command of ['--flag', '[ -e /x ]', 'a\nb', 'cat <<X\nX', 'ends with \\', '# comment'])
    assert.equal(linesOf({ command, shell: true }), `USER 0:0\nRUN <<'EOF'\n${command}\nEOF`, command);
  assert.match(linesOf({ command: 'cat <<EOF\nEOF', shell: true }), /^RUN <<'EOF_'$[^]*^EOF_$/mu);
  const kept = { A: 'x "$y"', B: null, C: '<MASKED>' };
  const { lines, missing } = runInstructions({ ...base, command: 'a', env: kept, preserve_env: true }, 0);
  assert.equal(lines.at(-1), 'ENV A="x \\"\\$y\\""');
  assert.deepEqual(missing.slice(1), ['that B is no longer set in the image', 'the value of C, which the image keeps']);
  // The text of a here-document is what the shell gets.
  const shell = linesOf({ command: 'echo "$V" > f; exit 3', shell: true, env: { V: 'a b' }, cwd: '/tmp' }, 3);
  const text = shell.split('\n').slice(2, -1).join('\n').replace('> f', '>&2');
  assert.equal(
    execFileSync('sh', ['-c', `${text}\necho "ended with $?"`], { encoding: 'utf8', stdio: 'pipe' }),
    'ended with 0\n',
  );
});

test('history shows how an image was made, newest first', async () => {
  await using cli = await openCli();
  const root = cli.contree.addImage({}, 'base');
  const { stdout, code } = await cli.run(['history', 'base']);
  assert.equal(code, 0);
  assert.match(stdout, new RegExp(`MADE +SIZE +EXIT +IMAGE +COMMAND\\n.* ${root} .*tag:base\\n$`, 'u'));
  assert.equal((await cli.run(['history', 'base', '--dockerfile'])).code, 2);
});
