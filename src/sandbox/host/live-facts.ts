import { readFile, readlink } from 'node:fs/promises';
import type { JailFacts } from '../driver.ts';

/** Name of the part that hides the keys of the user who started the engine. */
export const EMPTY_KEYRING = 'empty session keyring';

const NAMESPACES = { user: 'user', mnt: 'mount', pid: 'pid', net: 'network', ipc: 'ipc', uts: 'uts', cgroup: 'cgroup' };

export interface LiveJail {
  /** First process of the jail, by its number on the host. */
  readonly pid: number;
  /** True when the kernel reported an empty session keyring, which everything in the jail inherits, to the host helper. */
  readonly emptyKeyring: boolean;
}

/**
 * Returns the facts that the kernel reports about a process in the jail (`/proc/PID/status` and `ns`, proc(5)). A configured
 * part that the process does not have is missing. Facts that may not be read stay as configured.
 */
export async function liveFacts(facts: JailFacts, { pid, emptyKeyring }: LiveJail): Promise<JailFacts> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => undefined);
  const absent = new Set(await sharedNamespaces(pid));
  if (!emptyKeyring) absent.add(EMPTY_KEYRING);
  if (status !== undefined) for (const part of lackedBy(status)) absent.add(part);
  const lost = facts.parts.filter((part) => absent.has(part));
  return { parts: facts.parts.filter((part) => !absent.has(part)), missing: [...facts.missing, ...lost] };
}

/** Returns the parts of the jail that a process with this status lacks. */
function lackedBy(status: string): string[] {
  const field = (name: string): string => new RegExp(`^${name}:\\s*(.*)$`, 'mu').exec(status)?.[1] ?? '';
  const capabilities = ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'].map((name) => Number(`0x${field(name)}`));
  const has: readonly (readonly [string, boolean])[] = [
    ['own uid', field('Uid').split('\t')[0] !== String(process.getuid?.())],
    ['no capabilities', capabilities.every((set) => set === 0)],
    ['no new privileges', field('NoNewPrivs') === '1'],
    ['seccomp', field('Seccomp') === '2'],
  ];
  return has.filter(([, holds]) => !holds).map(([part]) => part);
}

/** Returns the namespaces that a process shares with the engine. */
async function sharedNamespaces(pid: number): Promise<string[]> {
  const link = (process: number | 'self', kind: string): Promise<string | undefined> =>
    readlink(`/proc/${process}/ns/${kind}`).catch(() => undefined);
  const kinds = Object.entries(NAMESPACES).map(async ([kind, name]) => {
    const [theirs, ours] = await Promise.all([link(pid, kind), link('self', kind)]);
    return theirs !== undefined && theirs === ours ? [`${name} namespace`] : [];
  });
  return (await Promise.all(kinds)).flat();
}
