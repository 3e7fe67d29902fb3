import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  BOOT_FD,
  bootArguments,
  DISK_BYTES,
  LAYERS_DISK_BYTES,
  type Machine,
  RESTORE_FD,
  restoreArguments,
} from '../../../src/sandbox/microvm/vm/machine.ts';
import { limits } from '../../../src/contract/limits.ts';

const EMULATED: Machine = { accelerator: 'emulated', cpus: 1, memoryMib: 512 };
const KVM: Machine = { accelerator: 'kvm', cpus: 2, memoryMib: 2_048 };

/** Values of an option, in order. */
function values(args: readonly string[], option: string): string[] {
  return args.flatMap((arg, index) => (arg === option ? [args[index + 1] ?? ''] : []));
}

function blocks(args: readonly string[]): Record<string, unknown>[] {
  return values(args, '-blockdev').map((text) => JSON.parse(text) as Record<string, unknown>);
}

test('QEMU gets descriptors, never a path of the host', () => {
  for (const args of [bootArguments(EMULATED, 'quiet'), restoreArguments(KVM, 3)]) {
    const paths = args.flatMap((arg) => arg.match(/\/[\w/.-]+/gu) ?? []);
    assert.ok(paths.length > 3);
    assert.deepEqual(
      paths.filter((path) => !/^\/(?:proc\/self\/fd|dev\/fdset)\/\d+$/u.test(path)),
      [],
    );
  }
});

test('every disk states its format, so that nothing a guest wrote is ever taken for another', () => {
  const formats = (args: readonly string[]): unknown[] => blocks(args).map(({ driver }) => driver);
  assert.deepEqual(formats(bootArguments(EMULATED, '')), ['null-co', 'raw']);
  assert.deepEqual(formats(restoreArguments(EMULATED, 1)), ['vmdk', 'raw', 'qcow2']);
  for (const { file } of blocks(restoreArguments(EMULATED, 1)))
    assert.equal((file as { driver: string }).driver, 'file');
});

test('layers and what is behind the writable disk are read-only on the host', () => {
  const [layers, blank, disk] = blocks(restoreArguments(EMULATED, 2));
  assert.equal(layers?.['read-only'], true);
  assert.equal(blank?.['read-only'], true);
  assert.equal(disk?.['read-only'], undefined);
  assert.equal(disk?.['backing'], 'blank');
});

test("QEMU's own sandbox denies everything it can, and nothing but what is named exists in the machine", () => {
  for (const args of [bootArguments(KVM, ''), restoreArguments(EMULATED, 1)]) {
    assert.deepEqual(values(args, '-sandbox'), [
      'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny',
    ]);
    for (const flag of ['-nodefaults', '-no-user-config', '-no-reboot']) assert.ok(args.includes(flag), flag);
    assert.deepEqual(
      values(args, '-device').map((device) => device.split(',', 1)[0]),
      ['virtio-serial-device', 'virtserialport', 'virtio-net-device', 'virtio-blk-device', 'virtio-blk-device'],
    );
  }
});

test('a restored machine is the saved one: devices, processors and memory are the same', () => {
  for (const machine of [EMULATED, KVM]) {
    const [boot, restore] = [bootArguments(machine, 'quiet'), restoreArguments(machine, 5)];
    for (const option of ['-machine', '-accel', '-cpu', '-smp', '-m', '-device', '-netdev']) {
      assert.deepEqual(values(restore, option), values(boot, option), option);
    }
  }
});

test("the template's memory is shared with its file while it is made, and private in every run", () => {
  assert.match(values(bootArguments(EMULATED, ''), '-object')[0] ?? '', /share=on,merge=off,dump=off$/u);
  assert.match(values(restoreArguments(EMULATED, 1), '-object')[0] ?? '', /share=off,merge=off,dump=off$/u);
});

test('every layer and the padding behind them has a descriptor, and no two things share one', () => {
  const sets = values(restoreArguments(EMULATED, 3), '-add-fd');
  const first = RESTORE_FD.firstExtent;
  for (const number of [first, first + 1, first + 2, first + 3]) assert.ok(sets.includes(`fd=${number},set=${number}`));
  assert.equal(new Set(sets).size, sets.length);
  for (const numbers of [BOOT_FD, RESTORE_FD]) {
    assert.equal(new Set(Object.values(numbers)).size, Object.values(numbers).length);
  }
});

test('KVM hides virtualisation from the guest; emulation says how many threads it takes', () => {
  assert.deepEqual(values(bootArguments(KVM, ''), '-cpu'), ['host,-vmx,-svm']);
  assert.match(values(bootArguments(EMULATED, ''), '-accel')[0] ?? '', /^tcg,thread=single/u);
  assert.match(values(bootArguments({ ...EMULATED, cpus: 4 }, ''), '-accel')[0] ?? '', /^tcg,thread=multi/u);
});

test('the disks are as large as an image and a run may be', () => {
  assert.ok(DISK_BYTES >= limits.layerBytesMax);
  assert.ok(LAYERS_DISK_BYTES > limits.layerFileBytesMax);
});
