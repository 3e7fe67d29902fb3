import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { buildLayer } from '../../src/layers/build-layer.ts';
import { isFault } from '../../src/contract/errors.ts';
import type { LayerFile } from '../../src/erofs/layer-file.ts';
import { layerOf, listing, Scratch } from '../support/layers.ts';
import { streamOf, type TarMember, tarOf } from '../support/tar.ts';

/*
 * Published breakouts from unpackers (umoci TestUnpackEntry*, containerd's breakout table, node-tar CVE-2026-26960,
 * umoci CVE-2021-29136). Nothing is unpacked here, so nothing can get out; what has to be right is what the guest will
 * see. CANARY in a member stands for a folder on the host.
 */

const link = (path: string, linkname: string): TarMember => ({ path, flag: '2', linkname, mode: 0o777 });
const hard = (path: string, linkname: string): TarMember => ({ path, flag: '1', linkname });
const dir = (path: string): TarMember => ({ path, flag: '5', mode: 0o755 });
const file = (path: string, content = 'evil'): TarMember => ({ path, content });

interface Case {
  readonly attack: string;
  /** Layers, bottom first. */
  readonly layers: readonly (readonly TarMember[])[];
  /** Lines that `listing` must contain; undefined when the last layer must be refused. */
  readonly expected: readonly string[] | undefined;
}

const CASES: readonly Case[] = [
  { attack: 'a name that climbs', layers: [[file('../../CANARY/victim')]], expected: undefined },
  {
    attack: 'a name that climbs from inside',
    layers: [[dir('a'), file('a/../../CANARY/victim')]],
    expected: undefined,
  },
  { attack: 'an absolute name', layers: [[file('/CANARY/victim')]], expected: ['/CANARY/victim 644 0:0 "evil"'] },
  {
    attack: 'a symlink to the host in a lower layer, written through by an upper one',
    layers: [[link('etc', '/CANARY')], [file('etc/victim')]],
    expected: ['/etc 777 0:0 -> /CANARY', '/CANARY/victim 644 0:0 "evil"'],
  },
  {
    attack: 'the same within one layer',
    layers: [[link('etc', '/CANARY'), file('etc/victim')]],
    expected: ['/CANARY/victim 644 0:0 "evil"'],
  },
  {
    attack: 'a relative symlink that climbs',
    layers: [[link('d/etc', '../../../../../../CANARY'), file('d/etc/victim')]],
    expected: ['/CANARY/victim 644 0:0 "evil"'],
  },
  {
    attack: 'a chain of symlinks',
    layers: [[link('a', 'b'), link('b', 'c'), link('c', '/CANARY'), file('a/victim')]],
    expected: ['/CANARY/victim 644 0:0 "evil"'],
  },
  {
    attack: 'a symlink chain and a hard link to the host (CVE-2026-26960)',
    layers: [[dir('a'), link('a/b', '..'), link('c', 'a/b/../..'), hard('stolen', 'c/CANARY/victim')]],
    expected: undefined,
  },
  { attack: 'a hard link to an absolute name', layers: [[hard('stolen', '/CANARY/victim')]], expected: undefined },
  { attack: 'a hard link that climbs', layers: [[hard('stolen', '../../CANARY/victim')]], expected: undefined },
  {
    attack: 'a hard link through a symlink, then a write to it',
    layers: [[link('s', '/CANARY'), hard('stolen', 's/victim'), file('stolen')]],
    expected: undefined,
  },
  {
    attack: 'a hard link to a symlink, then a write through it',
    layers: [[link('s', '/CANARY/victim'), hard('l', 's'), file('l')]],
    expected: ['/l 644 0:0 "evil"', '/s 777 0:0 -> /CANARY/victim'],
  },
  {
    attack: 'a whiteout through a symlinked parent',
    layers: [[link('etc', '/CANARY'), file('kept')], [file('etc/.wh.victim')]],
    expected: ['/etc 777 0:0 -> /CANARY', '/kept 644 0:0 "evil"'],
  },
  {
    attack: 'an opaque mark through a symlinked parent',
    layers: [[link('etc', '/CANARY')], [file('etc/.wh..wh..opq')]],
    expected: ['/etc 777 0:0 -> /CANARY'],
  },
  {
    attack: 'a whiteout of a symlink takes the symlink, not its target',
    layers: [[link('etc', '/real'), file('real/kept')], [file('.wh.etc')]],
    expected: ['/real/kept 644 0:0 "evil"'],
  },
  { attack: 'a whiteout that climbs', layers: [[file('../CANARY/.wh.victim')]], expected: undefined },
  { attack: 'a whiteout of the parent', layers: [[dir('a')], [file('a/.wh...')]], expected: undefined },
  { attack: 'a whiteout without a name', layers: [[file('a/.wh.')]], expected: undefined },
  {
    attack: 'the root as a symlink (CVE-2021-29136)',
    layers: [[link('.', '/CANARY'), file('victim')]],
    expected: undefined,
  },
  { attack: 'the root as a symlink, spelled otherwise', layers: [[link('/./', '/CANARY')]], expected: undefined },
  { attack: 'the root as a hard link', layers: [[file('f'), hard('/.', 'f')]], expected: undefined },
  {
    attack: 'a device in place of a directory',
    layers: [[{ path: 'd', flag: '4', device: [8, 0] }, file('d/victim')]],
    expected: ['/d 755 0:0 directory', '/d/victim 644 0:0 "evil"'],
  },
  {
    attack: 'a zero byte in a name',
    layers: [[{ path: 'p', pax: { path: 'a\0/../../CANARY' } }]],
    expected: undefined,
  },
  {
    attack: 'a name of 5,000 bytes',
    layers: [[{ path: 'p', pax: { path: 'a/'.repeat(2_500) } }]],
    expected: undefined,
  },
];

function atCanary(member: TarMember, canary: string): TarMember {
  const { path, linkname = '' } = member;
  return {
    ...member,
    path: path.replace('CANARY', canary.slice(1)),
    linkname: linkname.replace('CANARY', canary.slice(1)),
  };
}

for (const { attack, layers, expected } of CASES) {
  test(`breakout: ${attack}`, async () => {
    await using scratch = await Scratch.create();
    const canary = join(scratch.folder, 'canary');
    await mkdir(canary);
    await writeFile(join(canary, 'victim'), 'untouched');
    const before = await stat(join(canary, 'victim'));
    const built: LayerFile[] = [];
    try {
      for (const members of layers) {
        built.push(await layerOf(scratch, tarOf(members.map((member) => atCanary(member, canary))), built));
      }
      assert.ok(expected, 'the layer must be refused');
      const lines = new Set(await listing(built));
      for (const line of expected)
        assert.ok(lines.has(line.replace('CANARY', canary.slice(1))), `${line}\n${[...lines].join('\n')}`);
    } catch (error) {
      assert.ok(expected === undefined && isFault(error, 'LAYER_MALFORMED'), String(error));
    }
    assert.deepEqual(await readdir(canary), ['victim']);
    assert.equal(await readFile(join(canary, 'victim'), 'utf8'), 'untouched');
    const after = await stat(join(canary, 'victim'));
    assert.deepEqual([after.ino, after.nlink, after.mtimeMs], [before.ino, before.nlink, before.mtimeMs]);
  });
}

test('a layer file is never written through a symlink at its path', async () => {
  await using scratch = await Scratch.create();
  const victim = join(scratch.folder, 'victim');
  const path = join(scratch.folder, 'layer');
  await writeFile(victim, 'untouched');
  await symlink(victim, path);
  await assert.rejects(buildLayer(streamOf(tarOf([])), path), { code: 'EEXIST' });
  assert.equal(await readFile(victim, 'utf8'), 'untouched');
});
