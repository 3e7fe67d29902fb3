import type { ConTree } from '../../contract/contree.ts';
import { isFault } from '../../contract/errors.ts';
import { isFinished } from '../../contract/operation-state.ts';
import type { SyncReport } from '../../transfer/local-files.ts';
import { imageReference, type Cli } from '../cli.ts';
import { execute } from '../instances/exec.ts';
import { openInstance } from '../instances/instance.ts';
import { Interrupts } from '../terminal/interrupts.ts';
import { openTransfers } from '../transfer/local-transfers.ts';
import { othersRunning, stillWritten, withCommand, withPoint, type Project, type ProjectState } from './project.ts';

/** Time that the instance of a project stays without commands. */
const IDLE_SECONDS = 3_600;

/** Shell line that executes `$0` in bash where the image has it: agents write for bash. */
const IN_BASH = 'command -v bash >/dev/null 2>&1 && exec bash -c "$0"; exec sh -c "$0"';

export interface AgentCommand {
  /** Absolute, in the project: the instance has the folder at the same place. */
  readonly cwd: string;
  readonly line: string;
}

/**
 * Executes a command of an agent in the instance of a project and makes an image of what it changed. What the user's
 * folder has that is newer is copied into the instance before. Returns the exit code of the command.
 */
export async function runAgentCommand(cli: Cli, project: Project, { cwd, line }: AgentCommand): Promise<number> {
  const contree = await cli.contree();
  using interrupts = new Interrupts(cli);
  const { instance } = await project.change(async (state) => {
    const next = await prepared(cli, project, state);
    return { ...next, running: [...othersRunning(state), { pid: process.pid, instance: next.instance }] };
  }, interrupts.impatient);
  const spec = { command: 'sh', args: ['-c', IN_BASH, line], cwd };
  try {
    const { exitCode } = await execute(cli, contree, { instance, spec, input: { kind: 'none' }, interrupts });
    return interrupts.exitCode ?? exitCode;
  } finally {
    await project.change((state) => saved(cli, { ...state, running: othersRunning(state) }, { instance, line }), NEVER);
  }
}

/** Signal of what is done however the command ended. */
const NEVER = new AbortController().signal;

/** Returns the state after a command, with the image of what it changed. */
async function saved(
  cli: Cli,
  state: ProjectState,
  { instance, line }: { readonly instance: string; readonly line: string },
): Promise<ProjectState> {
  const contree = await cli.contree();
  if (!(await isOpen(contree, instance))) return state;
  const { image, changed } = await contree.instances.snapshot(instance, {});
  if (state.instance === instance) return changed ? withCommand(state, line, image) : state;
  // The folder was changed meanwhile, so another command has begun the next instance.
  if (changed)
    cli.host.stderr.write(`contree: what this command changed is in image ${image}, not in the current one\n`);
  if (!state.running.some((other) => other.instance === instance)) await discard(contree, instance);
  return state;
}

/** Returns the state with an open instance that has the current files and the user's folder as it is now. */
async function prepared(cli: Cli, project: Project, state: ProjectState): Promise<ProjectState> {
  const contree = await cli.contree();
  const report = await syncedSince(cli, project, state);
  if (report.directoryState === '' && (await isOpen(contree, state.instance))) return state;
  const states = report.directoryState === '' ? {} : { directory_states: [report.directoryState] };
  const request = { image: imageReference(state.current.image), ...states, idle_timeout: IDLE_SECONDS };
  const { uuid } = await openInstance(contree, request, cli.signal);
  const isUsed = othersRunning(state).some(({ instance }) => instance === state.instance);
  if (state.instance !== '' && !isUsed) await discard(contree, state.instance);
  const { image } = await contree.instances.snapshot(uuid, {}, cli.signal);
  const now = report.manifest ?? {};
  const manifest = await project.storeManifest(now);
  const written = stillWritten(state, now);
  const applied = state.applied === '' ? image : state.applied;
  return withPoint({ ...state, instance: uuid, applied, written }, { image, manifest });
}

/** Copies what the user's folder has that the current image has not, as a directory state. */
export async function syncedSince(cli: Cli, project: Project, state: ProjectState): Promise<SyncReport> {
  const transfers = await openTransfers(cli);
  const { folder } = project;
  const since = await project.known(state);
  const request = { source: folder, destination: folder, exclude: [], since };
  return await transfers.sync(await cli.contree(), request, { signal: cli.signal });
}

async function isOpen(contree: ConTree, instance: string): Promise<boolean> {
  if (instance === '') return false;
  try {
    return !isFinished((await contree.operations.get(instance, { output_bytes: 0 })).status);
  } catch (error) {
    if (!isFault(error, 'OPERATION_NOT_FOUND')) throw error;
    return false;
  }
}

/** Closes an instance of which an image was made after every command. */
export async function discard(contree: ConTree, instance: string): Promise<void> {
  try {
    await contree.instances.close(instance, { keep: false });
  } catch (error) {
    if (!isFault(error)) throw error;
  }
}
