import type { InstanceResult } from '../../contract/run.ts';

/** End of a command, as far as a hint can be drawn from it. */
export interface CommandEnd {
  /** The shell expression; undefined for a program that was started without a shell. */
  readonly script?: string | undefined;
  readonly state: NonNullable<InstanceResult['state']>;
  /** Last bytes of standard error. */
  readonly stderr: string;
  /** True when the run left an image that differs from the one it started from. */
  readonly saved: boolean;
}

/** Features of bash that the `sh` of Debian and Alpine lacks: its message, and how to write them there. */
const BASHISMS: readonly (readonly [message: RegExp, instead: string])[] = [
  [/\bsource: not found/u, '"source" is "." in sh'],
  [/\[\[: not found/u, '"[[ … ]]" is "[ … ]" in sh'],
  [/\b(pushd|popd|shopt|declare|typeset|let|mapfile|readarray): not found/u, 'that command is one of bash'],
  [
    /[Bb]ad substitution|Syntax error: (?:"\("|redirection) unexpected|syntax error: unexpected "\("/u,
    'that syntax is one of bash',
  ],
];

/** Returns the hint that follows from the end of a command; undefined for an ordinary one. */
export function adviceFor(end: CommandEnd): string | undefined {
  const { state, saved } = end;
  if (state.timed_out) {
    const half = ' The image saved has what was done until then: do not tag it.';
    return `The command was stopped by its timeout; call run again with a larger one.${saved ? half : ''}`;
  }
  if (state.out_of_memory) return 'The guest ran out of memory; call run again with a larger memory_mib.';
  return state.exit_code === 0 ? undefined : (bashAdvice(end) ?? missingAdvice(end));
}

function bashAdvice({ script, stderr }: CommandEnd): string | undefined {
  if (script === undefined) return undefined;
  const found = BASHISMS.find(([message]) => message.test(stderr));
  return found && `The shell is /bin/sh: ${found[1]}; env={"SHELL": "/bin/bash"} runs bash where the image has it.`;
}

function missingAdvice({ state: { exit_code: code }, stderr }: CommandEnd): string | undefined {
  if (code === 126 && /exec format error/iu.test(stderr))
    return 'Exit code 126: the program is of another architecture.';
  if (code === 126)
    return 'Exit code 126: the file cannot be executed; check its mode (files={"/path": {"uuid": …, "mode": "0755"}}), or run it through its interpreter.';
  if (code !== 127) return undefined;
  const [, name] = /(?:^|[\s:])([\w./+-]{1,64}): (?:command )?not found/u.exec(stderr) ?? [];
  return `Exit code 127: the image has no ${name === undefined ? 'such command' : `"${name}"`}; install it in a run with disposable=false.`;
}
