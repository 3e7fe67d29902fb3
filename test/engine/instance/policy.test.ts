import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ConTree } from '../../../src/contract/contree.ts';
import type { InstanceTerms } from '../../../src/contract/instance.ts';
import { limits } from '../../../src/contract/limits.ts';
import { Instances } from '../../../src/engine/instance/instances.ts';
import { faults } from '../../conformance/faults.ts';
import { opened } from '../../conformance/instances.ts';
import { openEngine } from '../bench.ts';

async function termsOf(contree: ConTree, uuid: string): Promise<InstanceTerms | undefined> {
  const { metadata } = await contree.operations.get(uuid);
  return 'instance' in metadata ? metadata.instance : undefined;
}

test("the settings' terms are those of instances that ask for nothing else, and bound those that do", async () => {
  const policy = { idleSeconds: 100, lifeSeconds: 500, lifeSecondsMax: 1_000, openMax: 3, checkpoint: { seconds: 90 } };
  await using bench = await openEngine({ instancePolicy: policy });
  const { engine, base } = bench;
  const open = { image: base.uuid, resources_limits: { memory_mib: 128 } };
  const usual = await opened(engine, open);
  assert.deepEqual(await termsOf(engine, usual), { idle_timeout: 100, lifetime: 500, checkpoint: { seconds: 90 } });
  const own = await opened(engine, { ...open, idle_timeout: 700, lifetime: 900, checkpoint: { commands: 2 } });
  assert.deepEqual(await termsOf(engine, own), { idle_timeout: 700, lifetime: 900, checkpoint: { commands: 2 } });
  await assert.rejects(engine.instances.open({ ...open, lifetime: 1_001 }), faults('ARGUMENT_INVALID'));
  const disposable = await opened(engine, { ...open, disposable: true });
  assert.deepEqual(await termsOf(engine, disposable), { idle_timeout: 100, lifetime: 500 }, 'nothing of it is kept');
  await assert.rejects(engine.instances.open(open), faults('INSTANCE_LIMIT'));
  const other = engine.forTenant({ project: 'other' });
  await assert.rejects(
    other.instances.open(open),
    faults('IMAGE_NOT_FOUND'),
    'other projects have a number of their own',
  );
});

test('the published ports of a project are bounded, whichever of its instances they belong to', () => {
  const instances = new Instances();
  const taken = Array.from({ length: limits.portsPerProjectMax }, () => instances.takePort('one'));
  assert.throws(() => instances.takePort('one'), faults('PORT_LIMIT'));
  instances.takePort('other');
  taken[0]?.[Symbol.dispose]();
  instances.takePort('one')[Symbol.dispose]();
});

test('ports that are not published any more, with or without their instance, are free for others of the project', async () => {
  await using bench = await openEngine();
  const { engine, base } = bench;
  const open = { image: base.uuid, disposable: true, resources_limits: { memory_mib: 128 } };
  const ports = Array.from({ length: limits.portsPublishedMax }, (_, index) => ({ port: index + 1 }));
  const most = limits.portsPerProjectMax / limits.portsPublishedMax;
  const uuids: string[] = [];
  for (let index = 0; index < most; index += 1) uuids.push(await opened(engine, { ...open, publish: ports }));
  const [first = '', second = ''] = uuids;
  const further = await opened(engine, open);
  await assert.rejects(engine.instances.publish(further, { port: 1 }), faults('PORT_LIMIT'));
  await engine.instances.unpublish(first, 1);
  await engine.instances.publish(further, { port: 1 });
  await assert.rejects(engine.instances.publish(further, { port: 2 }), faults('PORT_LIMIT'));
  await engine.instances.close(second);
  await Array.fromAsync(engine.operations.events(second, { follow: true }));
  await engine.instances.publish(further, { port: 2 });
});
