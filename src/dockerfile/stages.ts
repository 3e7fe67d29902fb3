import { dockerfileFault } from './faults.ts';
import type { Dockerfile, Stage } from './instruction.ts';
import { expandWord, type Substitution, Work } from './substitute.ts';

/** Base of a stage. */
export type Base =
  | { readonly kind: 'stage'; readonly stage: number }
  | { readonly kind: 'scratch' }
  | { readonly kind: 'image'; readonly source: string };

/** A stage that is built, with what it needs. */
export interface PlannedStage {
  readonly stage: Stage;
  readonly base: Base;
  readonly platform: string | undefined;
}

/** Stages that a build needs, by index; each comes after those it needs. */
export interface StagePlan {
  readonly target: number;
  readonly needed: ReadonlyMap<number, PlannedStage>;
}

/**
 * Chooses the stages that the target (default: the last) is made from; others are not built. Faults: DOCKERFILE_INVALID,
 * also for a target that does not exist.
 */
export function planStages(
  file: Dockerfile,
  target: string | undefined,
  globals: ReadonlyMap<string, string>,
): StagePlan {
  const { stages, escape } = file;
  const last = stages.at(-1);
  const chosen = target === undefined ? last : findStage(stages, target, stages.length);
  if (chosen === undefined) {
    throw dockerfileFault(1, `there is no stage ${JSON.stringify(target)}; it has ${shownNames(stages)}`);
  }
  const needed = new Map<number, PlannedStage>();
  const work = new Work();
  const pending = [chosen];
  for (let stage = pending.pop(); stage !== undefined; stage = pending.pop()) {
    if (needed.has(stage.index)) continue;
    const planned = plan(stage, stages, { variables: globals, escape, line: stage.line, work });
    needed.set(stage.index, planned);
    const { base } = planned;
    const names = [...sourcesOf(stage)].map((name) => findStage(stages, name, stage.index)?.index);
    const indexes = [...names, base.kind === 'stage' ? base.stage : undefined];
    for (const index of indexes) {
      const other = index === undefined ? undefined : stages[index];
      if (other !== undefined) pending.push(other);
    }
  }
  return { target: chosen.index, needed: new Map([...needed].sort(([left], [right]) => left - right)) };
}

/** Returns the stage before `end` of that name or number; the last one of a name counts. */
export function findStage(stages: readonly Stage[], name: string, end: number): Stage | undefined {
  const earlier = stages.slice(0, end);
  const named = earlier.findLast((stage) => stage.name === name.toLowerCase());
  return named ?? (/^\d{1,4}$/u.test(name) ? earlier[Number(name)] : undefined);
}

/** Returns what a stage needs. Faults: DOCKERFILE_INVALID. */
export function planStage(
  { stages, escape }: Dockerfile,
  stage: Stage,
  globals: ReadonlyMap<string, string>,
): PlannedStage {
  return plan(stage, stages, { variables: globals, escape, line: stage.line, work: new Work() });
}

function plan(stage: Stage, stages: readonly Stage[], substitution: Substitution): PlannedStage {
  const { line } = stage;
  const source = expandWord(stage.base, substitution);
  const platform = stage.platform === undefined ? undefined : expandWord(stage.platform, substitution);
  if (source === '') throw dockerfileFault(line, `FROM ${stage.base} names no image once its variables are replaced`);
  // FROM 0 means an image of that name, unlike COPY --from=0.
  const named = /^\d+$/u.test(source) ? undefined : findStage(stages, source, stage.index);
  if (named !== undefined) return { stage, platform, base: { kind: 'stage', stage: named.index } };
  if (source === 'scratch') return { stage, platform, base: { kind: 'scratch' } };
  return { stage, platform, base: { kind: 'image', source } };
}

/** Names of the stages or images that instructions of a stage read from. */
export function* sourcesOf(stage: Stage): Generator<string> {
  for (const instruction of stage.instructions) {
    if ((instruction.kind === 'COPY' || instruction.kind === 'ADD') && instruction.from !== undefined)
      yield instruction.from;
    if (instruction.kind !== 'RUN') continue;
    for (const mount of instruction.mounts) {
      const from = /(?:^|,)from=([^,]*)/iu.exec(mount)?.[1];
      if (from !== undefined) yield from;
    }
  }
}

function shownNames(stages: readonly Stage[]): string {
  const names = stages.map(({ name, index }) => name ?? String(index));
  return names.length > 10 ? `${names.slice(0, 10).join(', ')}, …` : names.join(', ');
}
