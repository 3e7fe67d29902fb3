import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { after, test } from 'node:test';
import { EMPTY_IMAGE_CONFIG } from '../../../src/contract/image.ts';
import { type ContreeError, fault } from '../../../src/contract/errors.ts';
import type { Catalogue, Publication, Published } from '../../../src/engine/node/catalogue.ts';
import { DEFAULT_PROJECT } from '../../../src/contract/names.ts';
import { completion, executed, opened } from '../../conformance/instances.ts';
import { aborted } from '../../../src/std/abort.ts';
import { addRoot, finished, followed, openEngine, run, script, seen, stdoutOf } from '../bench.ts';

/** Time that the catalogue of these tests gives everything. */
const AT_MS = Date.parse('2020-02-02T20:20:20.000Z');

/** Catalogue that records what it is asked; a test replaces what it answers. */
class TestCatalogue implements Catalogue {
  readonly asked: Publication[] = [];
  answer: (publication: Publication, signal: AbortSignal) => Promise<Published> = async () => ({ atMs: AT_MS });
  /** Fault with which every beginning is refused. */
  refusal: ContreeError | undefined;
  readonly images = new Map<string, string>();

  async begin({ operation }: Pick<Publication, 'operation'>): Promise<void> {
    assert.equal(store.operations.get(operation).status, 'PENDING');
    if (this.refusal !== undefined) throw this.refusal;
  }

  async publish(publication: Publication, signal: AbortSignal): Promise<Published> {
    this.asked.push(publication);
    return await this.answer(publication, signal);
  }

  async resolve(_project: string, source: string): Promise<string | undefined> {
    return this.images.get(source);
  }

  /** Returns what was asked since the last time. */
  take(): Publication[] {
    return this.asked.splice(0);
  }
}

const catalogue = new TestCatalogue();
const IMPORTED = { config: EMPTY_IMAGE_CONFIG };
const bench = await openEngine({
  catalogue,
  importer: {
    fromRegistry: async (_place, { store }) => {
      const [layer = ''] = (await addRoot(store, {}, 'imported')).layers;
      return { ...IMPORTED, layers: [layer] };
    },
    fromArchive: async () => Promise.reject(new Error('no archives here')),
  },
});
after(async () => bench[Symbol.asyncDispose]());
const { engine, store, base } = bench;

/** Answers once with this, then as usual. */
function once(answer: TestCatalogue['answer']): void {
  const usual = catalogue.answer;
  catalogue.answer = async (publication, signal) => {
    catalogue.answer = usual;
    return await answer(publication, signal);
  };
}

test('a run is published in the catalogue first, with its layers, and is here as the catalogue says', async () => {
  const operation = randomUUID();
  const tenant = engine.forTenant({ project: DEFAULT_PROJECT }, { operation });
  const visible: boolean[] = [];
  once(async ({ image }) => {
    assert.ok(image?.made);
    visible.push(store.images.find(image.uuid) !== undefined, ...image.made.layers.map(({ path }) => existsSync(path)));
    return { atMs: AT_MS };
  });
  const { uuid } = await tenant.runs.start(script(bench, 'echo x > /x; echo hi'));
  assert.equal(uuid, operation);
  const ended = await finished(engine, uuid);
  assert.equal(ended.status, 'SUCCESS');
  assert.equal(stdoutOf(ended), 'hi\n');
  assert.deepEqual(visible, [false, true, true], 'not here yet, and both layers can be read');
  const [publication, ...others] = catalogue.take();
  assert.equal(others.length, 0);
  assert.equal(publication?.kind, 'end');
  assert.equal(publication.project, DEFAULT_PROJECT);
  assert.equal(publication.operation, operation);
  assert.equal(publication.outcome?.state?.exit_code, 0);
  const { image } = publication;
  assert.equal(ended.result_image_uuid, image?.uuid);
  assert.equal(image?.made?.parent, base.uuid);
  assert.deepEqual(
    image.made.layers.map(({ digest }) => digest),
    store.images.get(image.uuid).layers,
  );
  const { created_at: createdAt } = await engine.images.get(image.uuid);
  assert.equal(Date.parse(createdAt), AT_MS);
  assert.equal(engine.node.operation(DEFAULT_PROJECT, operation)?.finishedAtMs, AT_MS);
  assert.equal(store.sharedImages.use(DEFAULT_PROJECT, image.uuid), true);
});

test('an operation that may not begin does nothing, and says why', async () => {
  catalogue.refusal = fault('LEASE_LOST', { operation: 'x' });
  const ended = await run(engine, script(bench, 'echo x > /x'));
  catalogue.refusal = undefined;
  assert.equal(ended.error_code, 'LEASE_LOST');
  const events = await followed(engine, ended.uuid);
  assert.deepEqual(
    events.map(({ type }) => type),
    ['completion'],
  );
  assert.equal(catalogue.take().length, 0);
});

test('a run without changes names the image that is there, and a disposable one none', async () => {
  await run(engine, script(bench, 'true'));
  await run(engine, script(bench, 'echo x > /x', { disposable: true }));
  const [same, none] = catalogue.take();
  assert.deepEqual(same?.image, { uuid: base.uuid });
  assert.equal(none?.image, undefined);
  assert.equal(none?.kind, 'end');
});

test('what the catalogue refuses is not published, and the operation says why', async () => {
  const before = store.images.count();
  once(async () => Promise.reject(fault('OBJECTS_UNAVAILABLE', { reason: 'HTTP 503' })));
  const ended = await run(engine, script(bench, 'echo x > /refused'));
  assert.equal(ended.status, 'FAILED');
  assert.match(ended.error ?? '', /object store does not answer: HTTP 503/u);
  assert.equal(ended.result_image_uuid, null);
  assert.equal(store.images.count(), before);
  catalogue.take();
});

test('a cancellation during the publication is decided by the catalogue', async () => {
  const asked: PromiseWithResolvers<void>[] = [Promise.withResolvers(), Promise.withResolvers()];
  const decide = async (at: number, decision: (reason: unknown) => Promise<Published>): Promise<string> => {
    once(async (_publication, signal) => {
      asked[at]?.resolve();
      await aborted(signal);
      return await decision(signal.reason);
    });
    const { uuid } = await engine.runs.start(script(bench, `echo ${at} > /cancelled`));
    await asked[at]?.promise;
    await engine.operations.cancel(uuid);
    const { status } = await finished(engine, uuid);
    return status;
  };
  assert.equal(await decide(0, async () => ({})), 'SUCCESS', 'it had been published');
  assert.equal(await decide(1, async (reason) => Promise.reject(reason)), 'CANCELLED');
  catalogue.take();
});

test('the reason why an operation is not ours any more is its end', async () => {
  const { uuid } = await engine.runs.start(script(bench, 'sleep 600'));
  await seen(engine, uuid, ({ type }) => type === 'spawn');
  engine.node.stop(uuid, fault('OBJECTS_UNAVAILABLE', { reason: 'the node lost its lease' }));
  await engine.node.ended(uuid);
  assert.equal(engine.node.operation(DEFAULT_PROJECT, uuid)?.errorCode, 'OBJECTS_UNAVAILABLE');
  assert.equal(catalogue.take().length, 0);
  const again = engine.forTenant({ project: DEFAULT_PROJECT }, { operation: uuid });
  assert.equal((await run(again, script(bench, 'echo again'))).status, 'SUCCESS', 'claimed again, under the same UUID');
  catalogue.take();
});

test('an import uses the equal image that the catalogue names', async () => {
  const importing = async (): Promise<string | null> => {
    const { uuid } = await engine.images.import({ registry: { url: 'docker://example.com/thing' }, tag: 'thing:1' });
    return (await finished(engine, uuid)).result_image_uuid ?? null;
  };
  const first = await importing();
  const [made] = catalogue.take();
  assert.equal(made?.image?.uuid, first);
  assert.equal(made?.image?.made?.parent, null);
  assert.equal(made?.tag, 'thing:1');
  once(async () => ({ image: first ?? '' }));
  assert.equal(await importing(), first);
  catalogue.take();
});

test('snapshots of an instance are results, and its last image ends it', async () => {
  const uuid = await opened(engine, { image: base.uuid });
  await executed(engine, uuid, { command: 'echo x > /x', shell: true });
  const { image } = await engine.instances.snapshot(uuid, { tag: 'snap:1' });
  await executed(engine, uuid, { command: 'echo y > /y', shell: true });
  once(async () => Promise.reject(fault('OBJECTS_UNAVAILABLE', { reason: 'HTTP 503' })));
  await assert.rejects(engine.instances.snapshot(uuid), /object store does not answer/u);
  await engine.instances.close(uuid);
  const { data } = await completion(engine, uuid);
  const [snapshot, refused, end] = catalogue.take();
  assert.deepEqual([snapshot?.kind, refused?.kind, end?.kind], ['result', 'result', 'end']);
  assert.deepEqual([snapshot?.image?.uuid, snapshot?.tag, snapshot?.outcome?.snapshots], [image, 'snap:1', 1]);
  assert.equal(end?.image?.uuid, data.result_image_uuid);
  assert.equal(end?.image?.made?.parent, image, 'what was refused is in the next image');
  assert.equal(end?.outcome?.snapshots, 2);
});

test('the images of a build are published one by one, and its base is what the catalogue says', async () => {
  catalogue.images.set('based', base.uuid);
  store.tags.set('stale', base.uuid);
  const built = async (dockerfile_text: string): Promise<{ status: string; image: string | null }> => {
    const { uuid } = await engine.images.build({ dockerfile_text, tag: 'made:1' });
    const { status, result_image_uuid: image } = await finished(engine, uuid);
    return { status, image: image ?? null };
  };
  const { image } = await built('FROM based\nRUN echo 1 > /1\nENV A=b');
  const [first, second, end] = catalogue.take();
  assert.deepEqual([first?.kind, second?.kind, end?.kind], ['step', 'step', 'end']);
  assert.equal(first?.image?.made?.parent, base.uuid);
  assert.equal(second?.image?.made?.parent, first?.image?.uuid);
  assert.deepEqual([end?.image, end?.tag], [{ uuid: image }, 'made:1']);
  // A tag that only this store has is not one of the cluster: the name is looked up in a registry.
  await built('FROM stale\nENV A=b');
  const [root] = catalogue.take();
  assert.equal(root?.image?.made?.parent, null);
});
