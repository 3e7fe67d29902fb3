import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempDisposable, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { machineArguments, machineFiles } from './kvm/machine.ts';

/**
 * `npm run test:kvm`: proves the KVM path on a machine without KVM. QEMU emulates a processor with AMD's virtualisation, a
 * Debian system boots on it, and `test/kvm` runs there, with the product on nested KVM. Files given as arguments are run
 * instead, with KVM loaded and asked for: `npm run test:kvm -- test/vm/conformance.test.ts`.
 *
 * Takes about four minutes on two idle cores, and once as long again for the packages of the system.
 */
const RUN_MS_MAX = 1_800_000;

const chosen = process.argv.slice(2);
const startedMs = performance.now();
const say = (text: string): void =>
  console.log(`test:kvm: ${text} (${Math.round((performance.now() - startedMs) / 1_000)} s)`);

await using folder = await mkdtempDisposable(join(tmpdir(), 'contree-kvm-'));
const files = await machineFiles(folder.path);
say('the disks of the machine are made');
const report = join(folder.path, 'report');
const machine = spawn('qemu-system-x86_64', machineArguments(files, { chosen, report }), {
  stdio: ['ignore', 'inherit', 'inherit'],
  timeout: RUN_MS_MAX,
});
// The folder has to be removed, so the machine is ended and not this process.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => void machine.kill());
await once(machine, 'exit');
const [, code] = /^exit (\d+)$/mu.exec(await readFile(report, 'utf8')) ?? [];
say(code === '0' ? 'all tests passed on the machine' : `failed: ${code ?? 'the machine ended without a result'}`);
process.exitCode = code === '0' ? 0 : 1;
