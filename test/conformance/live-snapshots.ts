import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { TarReader } from '../../src/tar/reader.ts';
import type { LayerFile } from '../../src/erofs/layer-file.ts';
import type { Instance, SandboxDriver } from '../../src/sandbox/driver.ts';
import { collect } from '../../src/std/bytes.ts';
import { bootSpec, runScript } from '../support/microvm.ts';

const MIB = 1024 ** 2;
const SNAPSHOTS = 4;
const soon = (): AbortSignal => AbortSignal.timeout(60_000);

interface LiveBench {
  readonly driver: SandboxDriver;
  /** Layers of a busybox image. */
  readonly layers: readonly LayerFile[];
}

/** Takes and accepts a snapshot. Returns the content of its files by path. */
async function takeFiles(instance: Instance): Promise<Map<string, string>> {
  const snapshot = instance.snapshot(soon());
  const tar = await collect(snapshot.changes, 16 * MIB);
  snapshot.accept();
  const files = new Map<string, string>();
  if (tar.length === 0) return files;
  const reader = new TarReader(Readable.from([tar]));
  for (let entry = await reader.next(); entry !== undefined; entry = await reader.next()) {
    if (entry.type === 'file') files.set(entry.path, (await collect(reader.content(), MIB)).toString());
  }
  return files;
}

/** Declares the tests of snapshots of programs that work meanwhile. */
export function liveSnapshotTests(name: string, { driver, layers }: LiveBench): void {
  test(`${name}: a snapshot has one moment of programs that write meanwhile`, async () => {
    await using instance = await driver.start(bootSpec(layers), soon());
    const writer = `i=0; while :; do i=$((i+1)); echo $i > /n; mv /n /one; echo $i > /n; mv /n /two; echo $i >> /log
      head -c 20000 /dev/zero > /new; mv /new /whole; done`;
    await runScript(instance, `(${writer}) > /dev/null 2>&1 & until [ -s /whole ]; do :; done`);
    let [one, two, log] = [0, 0, ''];
    for (let count = 0; count < SNAPSHOTS; count += 1) {
      const files = await takeFiles(instance);
      // A file that is as it was is not in it.
      const read = (path: string, before: number): number => Number(files.get(path) ?? before);
      [one, two, log] = [read('one', one), read('two', two), files.get('log') ?? log];
      assert.ok(one === two || one === two + 1, `${one} and ${two}`);
      const lines = log.split('\n').slice(0, -1);
      assert.deepEqual(
        lines,
        [...lines.keys()].map((index) => String(index + 1)),
      );
      assert.ok(two - lines.length === 0 || two - lines.length === 1, `${two} and ${lines.length}`);
      assert.ok([undefined, 20_000].includes(files.get('whole')?.length));
    }
  });

  test(`${name}: a shell and its jobs do not see a snapshot`, async () => {
    await using instance = await driver.start(bootSpec(layers), soon());
    const env = { PATH: '/bin', PS1: '> ' };
    const tty = { columns: 80, rows: 24 };
    const shell = { argv: ['sh', '-i'], env, cwd: '/', uid: 0, gid: 0, stdin: true, tty };
    const process = await instance.start(shell, soon());
    const output = process.output[Symbol.asyncIterator]();
    let shown = '';
    const until = async (mark: string): Promise<void> => {
      while (!shown.includes(mark)) {
        const { done, value } = await output.next();
        assert.ok(!done, shown);
        shown += Buffer.from(value.bytes).toString();
      }
    };
    // Once gVisor has lost a stop that was sent to a program while it began.
    const stopped = String.raw`until grep -q ') T' /proc/$!/stat; do kill -STOP %2; done; jobs`;
    await process.write(Buffer.from(`sleep 1000 &\nsleep 2000 &\n${stopped}; echo be""gun\n`));
    await until('begun');
    shown = '';
    for (let count = 0; count < SNAPSHOTS; count += 1) await takeFiles(instance);
    await process.write(Buffer.from('echo jo""bs:; jobs; echo o""ver\n'));
    await until('over');
    const [before = '', after = ''] = shown.split('jobs:');
    assert.doesNotMatch(before, /Stopped|Continued|Running/u);
    assert.match(after, /Stopped[^\n]* sleep 2000[^]*Running +sleep 1000/u);
    await process.kill(9);
  });
}
