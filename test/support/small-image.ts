import { readFile } from 'node:fs/promises';
import { gzipSync } from 'node:zlib';
import { command } from '../../scripts/support/command.ts';
import { sha256, OCI, type FakeRegistry, type TestDescriptor, type TestLayer } from './servers/registry.ts';
import { tarOf, type TarMember } from './tar.ts';

/** Returns a layer of these files, gzipped as in registries. */
export function layerOfMembers(members: readonly TarMember[]): TestLayer {
  const tar = tarOf(members);
  return { bytes: gzipSync(tar, { level: 1 }), diffId: sha256(tar), mediaType: OCI.gzip };
}

/** Returns the files of a minimal Linux: one static busybox under the names of its commands. */
export async function busyboxMembers(): Promise<TarMember[]> {
  const busybox = (await command('sh', ['-c', 'command -v busybox'])).trim();
  const names = (await command(busybox, ['--list'])).split('\n').filter((name) => name !== '' && name !== 'busybox');
  return [
    ...['bin', 'etc', 'root', 'tmp', 'proc', 'sys', 'dev'].map((path) => ({ path, flag: '5', mode: 0o755 })),
    { path: 'bin/busybox', content: await readFile(busybox), mode: 0o755 },
    ...names.map((name) => ({ path: `bin/${name}`, flag: '2', linkname: 'busybox', mode: 0o777 })),
    { path: 'etc/passwd', content: 'root:x:0:0:root:/root:/bin/sh\n' },
    { path: 'etc/group', content: 'root:x:0:\n' },
  ];
}

/** Stores a bootable image of about 2 MB in a fake registry under a tag. */
export async function addBusybox(registry: FakeRegistry, tag: string): Promise<TestDescriptor> {
  return registry.addImage([layerOfMembers(await busyboxMembers())], { tag });
}
