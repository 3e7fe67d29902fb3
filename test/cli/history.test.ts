import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { writeBuildFolder } from '../../src/cli/history/build-folder.ts';
import { runInstructions } from '../../src/cli/history/run-instruction.ts';
import type { LineageNode } from '../../src/contract/image.ts';
import type { OperationInstanceMetadata } from '../../src/contract/operation.ts';
import { finished, once, openEngine, run, script, type EngineBench } from '../engine/bench.ts';
import { openCli } from '../support/cli-bench.ts';

const signal = AbortSignal.timeout(60_000);

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
  const first = await run(engine, script(bench, 'echo one > /root/one'));
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
  assert.match(text, /^RUN echo one > \/root\/one$/mu);
  assert.match(text, /^# files-1\.tar: "\/in"$/mu);
  const context = execFileSync('tar', ['-C', path, '-cf', '-', '.'], { maxBuffer: 1e8 });
  const { uuid: file } = await engine.uploads.create(once(context));
  const built = await finished(engine, (await engine.images.build({ context: { file } })).uuid);
  assert.equal(built.status, 'SUCCESS', built.error ?? '');
  const { entries } = await engine.images.diff(image, { to: built.result_image_uuid! });
  // What ran again has its own times.
  const differing = entries.filter(
    (entry) => entry.change !== 'metadata' || entry.mode !== entry.mode_before || entry.owner !== entry.owner_before,
  );
  assert.deepEqual(differing, []);
  await assert.rejects(written(bench, image, place.path), { code: 'DESTINATION_EXISTS' });
});

test('what a Dockerfile cannot say is a comment in it, and is told', async () => {
  await using bench = await openEngine();
  await using place = await scratch();
  const { engine, store } = bench;
  const upload = await engine.uploads.create(once('gone'));
  const typed = await run(engine, script(bench, 'cat > /typed', { stdin: { value: 'x' } }));
  const gone = await run(engine, {
    ...script(bench, 'rm /in; touch /made'),
    image: typed.result_image_uuid!,
    files: { '/in': { uuid: upload.uuid } },
    env: { API_KEY: 'hush' },
  });
  await store.gc({ dryRun: false, unusedSinceMs: Date.now() + 1, usedBy: () => undefined });
  const { missing, text } = await written(bench, gone.result_image_uuid!, place.path);
  assert.deepEqual(
    missing.map((line) => line.split(/[,:]/u)[0]),
    ['standard input of the command', 'the files that were put into the image', 'the value of API_KEY'],
  );
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
  const kept = { A: 'x "$y"', B: null };
  const { lines, missing } = runInstructions({ ...base, command: 'a', env: kept, preserve_env: true }, 0);
  assert.deepEqual([lines.at(-1), missing], ['ENV A="x \\"\\$y\\""', ['that B is no longer set in the image']]);
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
