import { createHash } from 'node:crypto';
import { mkdir, readFile, realpath } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fault } from '../../contract/errors.ts';
import { stateFolder, type Environment } from '../../config/index.ts';
import { pause } from '../../std/abort.ts';
import { writeFileAtomically } from '../../std/files.ts';
import { parsedJson } from '../../std/json.ts';
import type { Manifest } from '../../transfer/local-files.ts';

/** State of a project: an image, and the manifest of the user's folder as it was when it was last copied into it. */
export interface Point {
  readonly image: string;
  /** Name of the manifest's file; empty while nothing was copied. */
  readonly manifest: string;
}

/** One turn of an agent: what followed a prompt of the user. */
export interface Turn {
  /** Identity of the turn as the agent names it. */
  readonly key: string;
  /** Beginning of the prompt. */
  readonly prompt: string;
  readonly at: string;
  readonly before: Point;
  readonly after: Point;
  /** Commands that changed something, with the images that they made. */
  readonly commands: readonly { readonly line: string; readonly image: string }[];
}

/** A folder of the user whose agents' commands are executed in instances. */
export interface ProjectState {
  readonly version: 1;
  readonly folder: string;
  /** Image from which the project begins. */
  readonly root: string;
  readonly current: Point;
  /** Image with the user's folder as it was when changes were last applied to it; empty before the first copy. */
  readonly applied: string;
  /**
   * Files of the user's folder as they were written by `apply`, null for those it removed: not changes of the user, whatever
   * image is the current one.
   */
  readonly written: Readonly<Record<string, string | null>>;
  /** UUID of the instance in which commands are executed; empty for none. */
  readonly instance: string;
  /** Commands that are being executed: the process of this command line, and the instance. */
  readonly running: readonly { readonly pid: number; readonly instance: string }[];
  readonly turns: readonly Turn[];
  /** Number of turns that are not undone. */
  readonly position: number;
}

const LOCK_POLL_MS = 50;
const TURNS_MAX = 500;

/** The remembered state of one project, in files of the user's state folder, never in the project itself. */
export class Project {
  readonly folder: string;
  readonly #place: string;

  private constructor(folder: string, place: string) {
    this.folder = folder;
    this.#place = place;
  }

  /** Returns the project that a folder is in, or undefined. */
  static async find(env: Environment, from: string): Promise<Project | undefined> {
    for (let folder = await realpath(from); ; folder = dirname(folder)) {
      const project = new Project(folder, placeOf(env, folder));
      if ((await project.#read()) !== undefined) return project;
      if (folder === dirname(folder)) return undefined;
    }
  }

  /** Returns the project that a folder is in. Faults: ARGUMENT_INVALID when it is in none. */
  static async at(env: Environment, from: string): Promise<Project> {
    const found = await Project.find(env, from);
    if (found !== undefined) return found;
    const reason = `${from} is not in a project; "contree install claude-code --hook IMAGE" makes one of the current folder`;
    throw fault('ARGUMENT_INVALID', { reason });
  }

  /** Makes a project of a folder, or lets one that exists begin from another image. */
  static async create(env: Environment, from: string, root: string): Promise<Project> {
    const folder = await realpath(from);
    const project = new Project(folder, placeOf(env, folder));
    const current = { image: root, manifest: '' };
    await mkdir(join(project.#place, 'manifests'), { recursive: true, mode: 0o700 });
    await project.#write({
      version: 1,
      folder,
      root,
      current,
      applied: '',
      written: {},
      instance: '',
      running: [],
      turns: [],
      position: 0,
    });
    return project;
  }

  /** Returns the state. Faults: ARGUMENT_INVALID when its file was damaged. */
  async state(): Promise<ProjectState> {
    const state = await this.#read();
    if (state !== undefined) return state;
    throw fault('ARGUMENT_INVALID', { reason: `the state of the project in ${this.#place} cannot be read` });
  }

  /** Changes the state while no other process does. */
  async change(
    edit: (state: ProjectState) => Promise<ProjectState> | ProjectState,
    signal: AbortSignal,
  ): Promise<ProjectState> {
    using _lock = await this.#lock(signal);
    const state = await edit(await this.state());
    const dropped = Math.max(0, state.turns.length - TURNS_MAX);
    const kept = { ...state, turns: state.turns.slice(dropped), position: Math.max(0, state.position - dropped) };
    await this.#write(kept);
    return kept;
  }

  /** Returns the user's folder as the current image has it, or as it was last written from it. */
  async known({ current: { manifest }, written }: ProjectState): Promise<Manifest> {
    const file = join(this.#place, 'manifests', manifest);
    const copied = manifest === '' ? {} : (JSON.parse(await readFile(file, 'utf8')) as Manifest);
    const entries = Object.entries({ ...copied, ...written }).filter(
      (entry): entry is [string, string] => entry[1] !== null,
    );
    return Object.fromEntries(entries);
  }

  /** Stores a manifest and returns the name of its file. */
  async storeManifest(manifest: Manifest): Promise<string> {
    const text = JSON.stringify(manifest);
    const name = createHash('sha256').update(text).digest('hex');
    await writeFileAtomically(join(this.#place, 'manifests', name), text, { mode: 0o600 });
    return name;
  }

  async #lock(signal: AbortSignal): Promise<Disposable> {
    // Loaded on demand: most commands lock nothing.
    const { tryLock } = await import('../../client/local/start-lock.ts');
    for (;;) {
      const lock = tryLock(join(this.#place, 'lock'));
      if (lock !== undefined) return lock;
      await pause(LOCK_POLL_MS, signal);
    }
  }

  async #read(): Promise<ProjectState | undefined> {
    const text = await readFile(join(this.#place, 'state.json'), 'utf8').catch(() => undefined);
    const state = text === undefined ? undefined : (parsedJson(text) as ProjectState | undefined);
    return state?.version === 1 && state.folder === this.folder ? state : undefined;
  }

  async #write(state: ProjectState): Promise<void> {
    await writeFileAtomically(join(this.#place, 'state.json'), JSON.stringify(state), { mode: 0o600 });
  }
}

function placeOf(env: Environment, folder: string): string {
  const name = createHash('sha256').update(folder).digest('hex').slice(0, 32);
  return join(stateFolder(env), 'projects', name);
}

/** Returns the state at the beginning of a turn; turns that were undone are forgotten, and so is one without commands. */
export function withTurn(state: ProjectState, key: string, prompt: string): ProjectState {
  const turns = state.turns.slice(0, state.position).filter(({ commands }) => commands.length > 0);
  const { current } = state;
  const turn = { key, prompt, at: new Date().toISOString(), before: current, after: current, commands: [] };
  return { ...state, turns: [...turns, turn], position: turns.length + 1 };
}

/**
 * Returns the state with another current point, which is then that of the last turn too. What came from the user's folder
 * before the first command of a turn was there before the turn.
 */
export function withPoint(state: ProjectState, current: Point): ProjectState {
  const { turns, position } = state;
  const last = turns[position - 1];
  if (last === undefined) return { ...state, current };
  const before = last.commands.length === 0 ? current : last.before;
  return { ...state, current, turns: turns.with(position - 1, { ...last, before, after: current }) };
}

/** Returns the state after a command that made an image. */
export function withCommand(state: ProjectState, line: string, image: string): ProjectState {
  const { turns, position } = state;
  const current = { ...state.current, image };
  const last = turns[position - 1];
  if (last === undefined) return { ...state, current };
  const turn = { ...last, after: current, commands: [...last.commands, { line, image }] };
  return { ...state, current, turns: turns.with(position - 1, turn) };
}

/** Returns what was written and is still as it was written. */
export function stillWritten({ written }: ProjectState, now: Manifest): ProjectState['written'] {
  const kept = Object.entries(written).filter(([path, mark]) => (now[path] ?? null) === mark);
  return Object.fromEntries(kept);
}

/** Returns the commands that other processes are executing; those of processes that were killed do not count. */
export function othersRunning({ running }: ProjectState): ProjectState['running'] {
  return running.filter(({ pid }) => pid !== process.pid && isAlive(pid));
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
