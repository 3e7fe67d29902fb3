import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { isFault } from '../../src/contract/errors.ts';
import { Admission, type Entry, type Resources } from '../../src/engine/admission.ts';

const never = new AbortController().signal;
const entry = (cost: Resources, project = 'one'): Entry => ({ project, cost });

/** Lets in what was admitted by the last step. */
async function settle(): Promise<void> {
  await new Promise(setImmediate);
}

/** Admission whose decisions are recorded in their order. */
class Recorded {
  readonly admission: Admission;
  /** Work in the order of its admission. */
  readonly order: string[] = [];
  readonly places = new Map<string, Disposable>();

  constructor(capacity: Resources, quotaOf?: (project: string) => Resources) {
    this.admission = new Admission(capacity, quotaOf);
  }

  enter(name: string, asked: Entry): void {
    this.admission.enter(asked, never).then(
      (place) => {
        this.order.push(name);
        this.places.set(name, place);
      },
      () => this.order.push(`${name} refused`),
    );
  }

  async end(name: string): Promise<void> {
    this.places.get(name)?.[Symbol.dispose]();
    this.places.delete(name);
    await settle();
  }
}

test('enter() lets in what fits and keeps the order of the rest', async () => {
  const line = new Recorded({ cpus: 2, memoryMib: 100 });
  line.enter('first', entry({ cpus: 1, memoryMib: 1 }));
  line.enter('big', entry({ cpus: 2, memoryMib: 1 }));
  line.enter('small', entry({ cpus: 1, memoryMib: 1 }));
  await settle();
  assert.deepEqual(line.order, ['first'], 'small would fit, but it does not overtake');
  assert.equal(line.admission.waiting, 2);
  await line.end('first');
  assert.deepEqual(line.order, ['first', 'big']);
  await line.end('big');
  await line.end('small');
  assert.deepEqual([line.admission.admitted, line.admission.waiting], [0, 0]);
});

test('what is larger than everything runs alone', async () => {
  const admission = new Admission({ cpus: 2 });
  const huge = await admission.enter(entry({ cpus: 64 }), never);
  const next = admission.enter(entry({ cpus: 1 }), never);
  await settle();
  assert.equal(admission.admitted, 1);
  huge[Symbol.dispose]();
  (await next)[Symbol.dispose]();
});

test('spare() counts what still fits, by the scarcest resource', async () => {
  const admission = new Admission({ cpus: 4, memoryMib: 1_000 });
  assert.equal(admission.spare({ cpus: 1, memoryMib: 300 }), 3);
  using _place = await admission.enter(entry({ cpus: 3, memoryMib: 100 }), never);
  assert.equal(admission.spare({ cpus: 1, memoryMib: 300 }), 1);
  assert.equal(admission.spare({ cpus: 2 }), 0);
});

test('leaving the line lets the next one in', async () => {
  const admission = new Admission({ cpus: 2 });
  const one = await admission.enter(entry({ cpus: 1 }), never);
  const stop = new AbortController();
  const blocked = admission.enter(entry({ cpus: 2 }), stop.signal);
  const behind = admission.enter(entry({ cpus: 1 }), never);
  stop.abort(new Error('changed my mind'));
  await assert.rejects(blocked, /changed my mind/u);
  const two = await behind;
  await assert.rejects(admission.enter(entry({ cpus: 1 }), stop.signal), /changed my mind/u);
  one[Symbol.dispose]();
  two[Symbol.dispose]();
  assert.deepEqual([admission.admitted, admission.waiting], [0, 0]);
});

test('a project with a thousand runs in the line costs the first run of another one place', async () => {
  const line = new Recorded({ runs: 4 });
  for (let index = 0; index < 1_000; index += 1) line.enter(`busy ${index}`, entry({ runs: 1 }, 'busy'));
  await settle();
  line.enter('first', entry({ runs: 1 }, 'late'));
  line.enter('second', entry({ runs: 1 }, 'late'));
  await line.end('busy 2');
  assert.equal(line.order.at(-1), 'first');
  await line.end('busy 0');
  assert.equal(line.order.at(-1), 'second', 'until both hold the same');
  line.enter('third', entry({ runs: 1 }, 'late'));
  await line.end('busy 1');
  assert.deepEqual(line.order.slice(-2), ['second', 'busy 4'], 'then they take turns');
});

test('large work gets its turn although small work of other projects keeps coming', async () => {
  const line = new Recorded({ cpus: 4 });
  line.enter('small 0', entry({ cpus: 1 }, 'small'));
  await settle();
  line.enter('large', entry({ cpus: 4 }, 'large'));
  for (let index = 1; index <= 20; index += 1) line.enter(`small ${index}`, entry({ cpus: 1 }, 'small'));
  await settle();
  assert.deepEqual(line.order, ['small 0'], 'nothing overtakes the work whose turn it is');
  await line.end('small 0');
  assert.deepEqual(line.order.slice(0, 3), ['small 0', 'large']);
});

test('a project at its quota waits, and holds up nobody else', async () => {
  const line = new Recorded({ cpus: 8 }, (project): Resources => (project === 'bounded' ? { runs: 1 } : {}));
  const bounded = { ...entry({ cpus: 1 }, 'bounded'), claim: { runs: 1 } };
  line.enter('one', bounded);
  line.enter('two', bounded);
  line.enter('other', entry({ cpus: 1 }, 'other'));
  await settle();
  assert.deepEqual(line.order, ['one', 'other']);
  assert.deepEqual(line.admission.of('bounded'), { waiting: 1, admitted: 1, used: { runs: 1 } });
  await line.end('one');
  assert.deepEqual(line.order, ['one', 'other', 'two']);
});

test('what a quota never allows is refused at once; what its open instances hold does not become free by waiting', async () => {
  const quota = { memoryMib: 1_000 };
  const admission = new Admission({ memoryMib: 4_000 }, () => quota);
  const claiming = (memoryMib: number, lasting = false): Entry => ({
    ...entry({ memoryMib }),
    claim: { memoryMib },
    lasting,
  });
  await assert.rejects(admission.enter(claiming(1_001), never), (error) => isFault(error, 'QUOTA_EXCEEDED'));
  const stays = await admission.enter(claiming(600, true), never);
  await assert.rejects(
    admission.enter(claiming(401), never),
    /the quota of project one is 1000 MiB of memory: 600 are in use and 401 were asked for/u,
  );
  const run = await admission.enter(claiming(400), never);
  const waits = admission.enter(claiming(400), never);
  run[Symbol.dispose]();
  const next = await waits;
  // Lowered since: what was accepted is kept, and what waits runs alone.
  const accepted = admission.enter(claiming(300), never);
  quota.memoryMib = 100;
  next[Symbol.dispose]();
  stays[Symbol.dispose]();
  (await accepted)[Symbol.dispose]();
  assert.deepEqual([admission.admitted, admission.waiting, admission.projects], [0, 0, []]);
});

/** Step of a random history: work of a project comes, or some of the admitted work ends. */
type Step = { readonly project: number; readonly cpus: number } | { readonly ends: number };

const STEP = fc.oneof(
  fc.record({ project: fc.nat(3), cpus: fc.integer({ min: 1, max: 6 }) }),
  fc.record({ ends: fc.nat(1_000) }),
);
const CAPACITY = 6;
const QUOTA = 3;

/** Model of a history: what came, in its order, and what of it holds places. */
class Model {
  readonly line = new Recorded({ cpus: CAPACITY }, (project): Resources => (project === '0' ? { cpus: QUOTA } : {}));
  readonly waiting: { readonly name: string; readonly project: string; readonly cpus: number }[] = [];
  readonly held = new Map<string, { readonly project: string; readonly cpus: number }>();
  #count = 0;
  #seen = 0;

  async step(step: Step): Promise<void> {
    if ('ends' in step) {
      const name = [...this.held.keys()][step.ends % Math.max(1, this.held.size)];
      if (name === undefined) return;
      this.held.delete(name);
      await this.line.end(name);
      return;
    }
    const project = String(step.project);
    const cpus = project === '0' ? Math.min(step.cpus, QUOTA) : step.cpus;
    const name = `${(this.#count += 1)}`;
    this.waiting.push({ name, project, cpus });
    this.line.enter(name, { project, cost: { cpus }, claim: { cpus } });
    await settle();
  }

  cpusOf(project: string): number {
    const own = [...this.held.values()].filter((place) => place.project === project);
    return own.reduce((sum, { cpus }) => sum + cpus, 0);
  }

  /** Follows the admissions since the last call, and checks each of them. */
  check(): void {
    for (const name of this.line.order.slice(this.#seen)) {
      const admitted = this.waiting.find((one) => one.name === name);
      assert.ok(admitted);
      const heads = new Map(this.waiting.toReversed().map((one) => [one.project, one]));
      assert.equal(heads.get(admitted.project), admitted, 'first come, first served within a project');
      for (const head of heads.values()) {
        const mayEnter = head.project !== '0' || this.cpusOf('0') + head.cpus <= QUOTA;
        if (mayEnter) assert.ok(this.cpusOf(admitted.project) <= this.cpusOf(head.project), 'the one that holds least');
      }
      this.waiting.splice(this.waiting.indexOf(admitted), 1);
      this.held.set(name, admitted);
      const used = [...this.held.values()].reduce((sum, { cpus }) => sum + cpus, 0);
      assert.ok(used <= CAPACITY, 'never more than the capacity');
      assert.ok(this.cpusOf('0') <= QUOTA, 'never more than the quota');
    }
    this.#seen = this.line.order.length;
  }
}

test('in every history: capacity and quota are kept, the smallest holder is next, and everything is admitted', async () => {
  const property = fc.asyncProperty(fc.array(STEP, { maxLength: 40 }), async (steps) => {
    const model = new Model();
    for (const step of steps) {
      await model.step(step);
      model.check();
    }
    for (let left = model.held.size + model.waiting.length; left > 0; left -= 1) {
      assert.ok(model.held.size > 0, 'what waits is admitted when places are free');
      await model.step({ ends: 0 });
      model.check();
    }
    const { admission } = model.line;
    assert.deepEqual([admission.waiting, admission.admitted, admission.projects], [0, 0, []]);
  });
  await fc.assert(property, { numRuns: 150 });
});

test('projects that always wait are served alike, whatever the sizes of their work: within two of the largest', async () => {
  // One at a time: any two exceed the capacity, so only turns count.
  const sizes = fc.array(fc.integer({ min: 6, max: 10 }), { minLength: 30, maxLength: 30 });
  const property = fc.asyncProperty(fc.array(sizes, { minLength: 2, maxLength: 4 }), async (projects) => {
    const line = new Recorded({ cpus: 10 });
    for (const [project, works] of projects.entries()) {
      for (const [index, cpus] of works.entries()) line.enter(`${project}:${index}`, entry({ cpus }, String(project)));
    }
    await settle();
    const served = projects.map(() => 0);
    for (let turn = 0; turn < 30; turn += 1) {
      const name = line.order[turn] ?? '';
      const [project = 0, index = 0] = name.split(':').map(Number);
      served[project] = (served[project] ?? 0) + (projects[project]?.[index] ?? 0);
      assert.ok(Math.max(...served) - Math.min(...served) <= 20, `${served.join(' ')} after ${turn + 1} turns`);
      await line.end(name);
    }
  });
  await fc.assert(property, { numRuns: 30 });
});
