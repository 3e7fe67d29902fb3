import type { ExportedConfig, ExportedHealthcheck } from './image-config.ts';
import type { Instructions } from './run-instruction.ts';

/** Returns the instructions that make a configuration of another one, and what no instruction can undo. */
export function configInstructions(config: ExportedConfig, before: ExportedConfig = {}): Instructions {
  const missing: string[] = [];
  const lines = [
    ...pairs('ENV', variables(config), variables(before), missing),
    ...pairs('LABEL', config.Labels ?? {}, before.Labels ?? {}, missing),
    ...sets('EXPOSE', config.ExposedPorts, before.ExposedPorts, missing),
    ...sets('VOLUME', config.Volumes, before.Volumes, missing),
    ...single('WORKDIR', config.WorkingDir, before.WorkingDir, missing),
    ...single('USER', config.User, before.User, missing),
    ...single('STOPSIGNAL', config.StopSignal, before.StopSignal, missing),
    ...(differ(config.Shell, before.Shell) ? [`SHELL ${JSON.stringify(config.Shell ?? ['/bin/sh', '-c'])}`] : []),
    ...healthcheck(config.Healthcheck, before.Healthcheck),
    ...triggers(config.OnBuild, before.OnBuild, missing),
    ...programs(config, before),
  ];
  return { lines, missing };
}

function variables({ Env: env = [] }: ExportedConfig): Record<string, string> {
  return Object.fromEntries(
    env.map((variable) => {
      const split = variable.indexOf('=');
      return [variable.slice(0, split), variable.slice(split + 1)];
    }),
  );
}

function pairs(
  word: 'ENV' | 'LABEL',
  now: Readonly<Record<string, string>>,
  before: Readonly<Record<string, string>>,
  missing: string[],
): string[] {
  for (const name of Object.keys(before)) if (!(name in now)) missing.push(`that ${word} ${name} is no longer set`);
  return Object.entries(now)
    .filter(([name, value]) => before[name] !== value)
    .map(([name, value]) => `${word} ${word === 'ENV' ? name : literal(name)}=${literal(value)}`);
}

function sets(word: string, now: object = {}, before: object = {}, missing: string[]): string[] {
  for (const name of Object.keys(before)) if (!(name in now)) missing.push(`that ${word} ${name} is no longer set`);
  const added = Object.keys(now).filter((name) => !(name in before));
  if (added.length === 0) return [];
  return [word === 'VOLUME' ? `VOLUME ${JSON.stringify(added)}` : `${word} ${added.join(' ')}`];
}

function single(word: string, now = '', before = '', missing: string[]): string[] {
  if (now === before) return [];
  if (now === '') missing.push(`that ${word} is no longer set`);
  return now === '' ? [] : [`${word} ${word === 'STOPSIGNAL' ? now : escaped(now)}`];
}

function healthcheck(now: ExportedHealthcheck | undefined, before: ExportedHealthcheck | undefined): string[] {
  if (!differ(now, before)) return [];
  const [kind = 'NONE', ...words] = now?.Test ?? [];
  if (now === undefined || kind === 'NONE') return ['HEALTHCHECK NONE'];
  const flags = [
    ...duration('interval', now.Interval),
    ...duration('timeout', now.Timeout),
    ...duration('start-period', now.StartPeriod),
    ...duration('start-interval', now.StartInterval),
    ...(now.Retries ? [`--retries=${now.Retries}`] : []),
  ];
  const command = kind === 'CMD-SHELL' ? words.join(' ') : JSON.stringify(words);
  return [['HEALTHCHECK', ...flags, 'CMD', command].join(' ')];
}

function duration(name: string, nanoseconds: number | undefined): string[] {
  return nanoseconds ? [`--${name}=${nanoseconds / 1e6}ms`] : [];
}

function triggers(now: readonly string[] = [], before: readonly string[] = [], missing: string[]): string[] {
  const isContinued = before.every((trigger, index) => now[index] === trigger);
  if (!isContinued) missing.push('that triggers of ONBUILD are no longer set');
  return (isContinued ? now.slice(before.length) : []).map((trigger) => `ONBUILD ${trigger}`);
}

/** ENTRYPOINT may reset CMD, so CMD follows it. */
function programs(now: ExportedConfig, before: ExportedConfig): string[] {
  const entry = differ(now.Entrypoint, before.Entrypoint);
  const line = (word: string, words: readonly string[] = []): string => `${word} ${JSON.stringify(words)}`;
  return [
    ...(entry ? [line('ENTRYPOINT', now.Entrypoint)] : []),
    ...(entry || differ(now.Cmd, before.Cmd) ? [line('CMD', now.Cmd)] : []),
  ];
}

function differ(now: unknown, before: unknown): boolean {
  return JSON.stringify(now ?? null) !== JSON.stringify(before ?? null);
}

/** Returns a value in quotes, in which nothing is replaced. */
function literal(value: string): string {
  return `"${escaped(value)}"`;
}

function escaped(value: string): string {
  return value.replaceAll(/[\\"$]/gu, String.raw`\$&`);
}
