import assert from 'node:assert/strict';
import { test } from 'node:test';

/** Outcome of a command in an image. */
export interface SurfaceRun {
  readonly operation: string;
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly image: string | null;
}

/** Actions of a person or an agent with ConTree, in either program. Rejects with `SurfaceFault`. */
export interface Surface extends AsyncDisposable {
  /** UUID of a root image as `addRoot` makes it. */
  readonly base: string;
  tag(image: string, name: string): Promise<void>;
  /** Returns UUID and tag of all images. */
  images(): Promise<readonly (readonly [uuid: string, tag: string | null])[]>;
  run(image: string, script: string): Promise<SurfaceRun>;
  /** Starts a command without waiting for it. */
  start(image: string, script: string): Promise<string>;
  cancel(operation: string): Promise<void>;
  /** Waits for the end and returns the status. */
  wait(operation: string): Promise<string>;
  operations(): Promise<readonly string[]>;
  names(image: string, path: string): Promise<readonly string[]>;
  read(image: string, path: string): Promise<string>;
  grep(image: string, pattern: string): Promise<readonly string[]>;
  diff(from: string, to: string): Promise<readonly string[]>;
}

/** Fault code as the program reports it. */
export class SurfaceFault extends Error {
  readonly code: string;

  constructor(code: string) {
    super(code);
    this.code = code;
  }
}

/** Requirements that `contree` and `contree-mcp` share, however they reach the engine. */
export function testSurface(name: string, open: () => Promise<Surface>): void {
  test(`${name}: run, branch, look into, compare`, { timeout: 60_000 }, async () => {
    await using surface = await open();
    const { base } = surface;
    await surface.tag(base, 'base');
    assert.deepEqual(await surface.images(), [[base, 'base']]);
    const first = await surface.run('tag:base', 'echo hello > /root/note; echo out; false');
    assert.deepEqual([first.exitCode, first.stdout], [1, 'out\n'], 'a failing command is a result');
    assert.ok(first.image !== null && first.image !== base);
    const second = await surface.run(first.image, 'cat /etc/nothing || echo none');
    assert.equal(second.stdout, 'none\n');
    assert.equal(second.image, first.image, 'what changed nothing is the image itself');
    assert.deepEqual(
      new Map(await surface.images()),
      new Map([
        [base, 'base'],
        [first.image, null],
      ]),
    );
    assert.deepEqual(await surface.names(first.image, '/root'), ['note']);
    assert.deepEqual(await surface.names('tag:base', '/root'), [], 'the parent is as it was');
    assert.equal(await surface.read(first.image, '/root/note'), 'hello\n');
    assert.deepEqual(await surface.grep(first.image, 'hel+o'), ['/root/note']);
    assert.ok((await surface.diff('tag:base', first.image)).includes('/root/note'));
    assert.deepEqual((await surface.operations()).toSorted(), [first.operation, second.operation].toSorted());
    assert.equal(await surface.wait(first.operation), 'SUCCESS');
  });

  test(`${name}: stopping, and what does not exist`, { timeout: 60_000 }, async () => {
    await using surface = await open();
    const operation = await surface.start(surface.base, 'sleep 60');
    await surface.cancel(operation);
    assert.equal(await surface.wait(operation), 'CANCELLED');
    const nowhere = '6f9619ff-8b86-4d01-b42d-00cf4fc964ff';
    const wrong: [() => Promise<unknown>, string][] = [
      [() => surface.run('tag:no-such-tag', 'true'), 'IMAGE_NOT_FOUND'],
      [() => surface.names(nowhere, '/'), 'IMAGE_NOT_FOUND'],
      [() => surface.names(surface.base, '/nope'), 'FILE_NOT_FOUND'],
      [() => surface.names(surface.base, '/etc/passwd'), 'NOT_A_DIRECTORY'],
      [() => surface.read(surface.base, '/etc'), 'NOT_A_FILE'],
      [() => surface.tag(surface.base, 'No Tag'), 'TAG_INVALID'],
      [() => surface.cancel(nowhere), 'OPERATION_NOT_FOUND'],
      [() => surface.grep(surface.base, '('), 'PATTERN_INVALID'],
    ];
    for (const [call, code] of wrong) await assert.rejects(call(), { code });
  });
}
