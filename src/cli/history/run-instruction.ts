import type { OperationInstanceMetadata } from '../../contract/operation.ts';

/** Value that is stored and shown instead of a secret. */
const MASK = '<MASKED>';
/** Longest line of a script that stays in the line of its RUN. */
const PLAIN = /^[\w./$"'({:][^\n]*(?<!\\)$/u;

/** Instructions of a Dockerfile for one run, and what they cannot say. */
export interface Instructions {
  readonly lines: readonly string[];
  readonly missing: readonly string[];
}

/** Returns the instructions that run a command again: USER, RUN, and what the run kept of its variables and directory. */
export function runInstructions(run: OperationInstanceMetadata, exitCode: number): Instructions {
  const missing: string[] = [];
  const secrets = Object.entries(run.env ?? {}).filter(([, value]) => value === MASK);
  for (const [name] of secrets)
    missing.push(`the value of ${name}: give it to the build, --secret id=${name},env=${name}`);
  if (run.networking?.mode === 'allowlist')
    missing.push('the list of hosts that the run could reach: the build reaches all');
  if (run.tty !== undefined) missing.push('the terminal of the run');
  const user = `${run.uid ?? 0}${run.gid === undefined ? '' : `:${run.gid}`}`;
  const flags = [
    ...(run.networking?.enabled === false || run.networking?.mode === 'none' ? ['--network=none'] : []),
    ...secrets.map(([name]) => `--mount=type=secret,id=${name}`),
  ];
  const { lines: kept, missing: lost } = keptInstructions(run);
  const lines = [
    ...(user === '0:0' || user === '0' ? ['USER 0:0'] : [`USER ${user}`]),
    ...runLines(flags, script(run, exitCode)),
    ...kept,
  ];
  return { lines, missing: [...missing, ...lost] };
}

/** Returns the shell script that does what the run did: directory, variables, command, and its exit code as success. */
function script(run: OperationInstanceMetadata, exitCode: number): string {
  const words = [run.command, ...(run.args ?? [])];
  const line =
    run.shell === true ? [run.command, ...(run.args ?? []).map(quoted)].join(' ') : words.map(quoted).join(' ');
  const parts = [...variables(run), ...(run.cwd ? [`mkdir -p ${quoted(run.cwd)} && cd ${quoted(run.cwd)}`] : [])];
  const whole = [...parts, line].join('\n');
  return exitCode > 0 ? `(\n${whole}\n)\n[ $? -eq ${exitCode} ]` : whole;
}

function variables({ env }: OperationInstanceMetadata): string[] {
  return Object.entries(env ?? {}).map(([name, value]) => {
    if (value === null) return `unset ${name}`;
    return value === MASK ? `export ${name}="$(cat /run/secrets/${name})"` : `export ${name}=${quoted(value)}`;
  });
}

/** Returns a RUN in one line where that reads the same, otherwise as a here-document. */
function runLines(flags: readonly string[], text: string): string[] {
  const start = ['RUN', ...flags].join(' ');
  if (PLAIN.test(text) && !text.includes('<<')) return [`${start} ${text}`];
  let end = 'EOF';
  while (text.split('\n').includes(end)) end += '_';
  return [`${start} <<'${end}'`, text, end];
}

/** Returns what the run kept for the next one. A Dockerfile can set a variable, not remove one. */
export function keptInstructions(run: OperationInstanceMetadata): Instructions {
  const lines: string[] = [];
  const missing: string[] = [];
  for (const [name, value] of run.preserve_env === true ? Object.entries(run.env ?? {}) : []) {
    if (value === null || value === '') missing.push(`that ${name} is no longer set in the image`);
    else if (value === MASK) missing.push(`the value of ${name}, which the image keeps`);
    else lines.push(`ENV ${name}=${JSON.stringify(value).replaceAll('$', '\\$')}`);
  }
  if (run.preserve_cwd === true && run.cwd) lines.push(`WORKDIR ${run.cwd}`);
  return { lines, missing };
}

function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/u.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
