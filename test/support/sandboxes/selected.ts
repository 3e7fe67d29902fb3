import type { SandboxDriver } from '../../../src/sandbox/driver.ts';
import type { NetworkOptions } from '../../../src/sandbox/network/index.ts';
import { gvisorFolder } from '../gvisor.ts';
import { type DriverBench, type DriverFolder, microvmFolder } from '../microvm.ts';

/** Options that the drivers of all sandboxes have. */
export interface SandboxOptions {
  readonly network: NetworkOptions;
}

export type SandboxBench = DriverBench<SandboxDriver>;
export type SandboxFolder = DriverFolder<SandboxOptions, SandboxBench>;

/**
 * Opens a folder of the sandbox that `npm run test:attacks` selects, by the variable by which engines choose theirs, for tests
 * that every sandbox passes. Without the variable it is the microVM.
 */
export async function sandboxFolder(): Promise<SandboxFolder> {
  return process.env['CONTREE_DEFAULT_SANDBOX'] === 'gvisor' ? gvisorFolder() : microvmFolder();
}
