/** Folder in the guest's memory, not part of any image, with the shell's own files. */
const FOLDER = '/dev/shm/.contree';
/** File with the state of the shell between two lines. */
export const STATE_FILE: string = `${FOLDER}/state`;
/** Program that executes a line as a shell does: `SHELL_FILE -c LINE`. */
export const SHELL_FILE: string = `${FOLDER}/shell`;

/** Shells of a guest that can keep their state: bash all of it, any other one what POSIX lets it print. */
export type ShellKind = 'bash' | 'sh';

/** Beginning of both scripts: restores the state, and begins to write it at the end of the line. */
const RESTORE = String.raw`[ -r "$1" ] && . "$1" 2>/dev/null
__contree_file=$1 __contree_line=$2
set --
__contree_save() {
  __contree_status=$?
  set +exv
  __contree_options=$(set +o)
  set +u
  trap - EXIT INT
  {
    printf '#%s\n' "$PWD"
`;

/** End of both scripts, after the shell has written what it can print: writes the rest, and executes the line. */
const SAVED = String.raw`    printf '__contree_last=%s\n%s\n' "$__contree_status" "$__contree_options"
  } > "$__contree_file"
  exit "$__contree_status"
} 2>/dev/null
trap __contree_save EXIT
trap 'exit 130' INT
(exit "${'$'}{__contree_last:-0}")
eval "$__contree_line"
`;

/**
 * Script of bash that restores the state from the file `$1`, executes the line `$2` and saves the state, however the
 * line ends: variables, functions, aliases, options, umask and the working directory, with the directory in its first
 * line (`#/srv`). Traps are not part of it, nor the options that end or trace every line (`set -exv`).
 */
const BASH = String.raw`
shopt -s expand_aliases
${RESTORE}    declare -p IFS
    IFS=$' \t\n'
    for __contree_name in $(compgen -v); do
      case $__contree_name in
        __contree_*|BASH*|COMP_*|DIRSTACK|EPOCH*|EUID|FUNCNAME|GROUPS|IFS|LINENO|PIPESTATUS|PPID) ;;
        PWD|OLDPWD|RANDOM|SECONDS|SHELLOPTS|SHLVL|SRANDOM|UID|_) ;;
        *) declare -p "$__contree_name" ;;
      esac
    done
    for __contree_name in $(compgen -A function); do
      case $__contree_name in
        __contree_*) ;;
        *) declare -f "$__contree_name" ;;
      esac
    done
    alias -p
    shopt -p
    umask -p
    printf 'cd -- %q; export OLDPWD=%q\n' "$PWD" "$OLDPWD"
${SAVED}`;

/** Script of other shells, which can print variables, aliases, options and the umask, but no functions. */
const SH = String.raw`
${RESTORE}    set
    export -p
    alias | while IFS= read -r __contree_name; do printf 'alias %s\n' "${'$'}{__contree_name#alias }"; done
    printf 'umask %s\n' "$(umask)"
    printf '__contree_to=$PWD __contree_from=$OLDPWD\n'
    printf 'cd -- "$__contree_to" && OLDPWD=$__contree_from\n'
${SAVED}`;

/** Returns the arguments with which a shell of that kind executes one line. */
export function lineArguments(kind: ShellKind, line: string, file: string): readonly string[] {
  return ['-c', kind === 'bash' ? BASH : SH, kind, file, line];
}

/**
 * Returns a script for `sh` that sets up the shell's own files; its standard input is the state to begin with. Lines are
 * then executed by a program that is given the line alone, so that the log of the instance has what was typed.
 */
export function setUpScript(kind: ShellKind): string {
  const run = `exec ${kind} -c "$(cat ${FOLDER}/run)" ${kind} ${STATE_FILE} "$2"`;
  const shell = `#!/bin/sh\nSHELL=$(command -v ${kind})\nexport SHELL\n${run}\n`;
  const write = (file: string, text: string): string => `cat > ${file} <<'__contree_end'\n${text}__contree_end\n`;
  const files = write(`${FOLDER}/run`, kind === 'bash' ? BASH : SH) + write(SHELL_FILE, shell);
  return `umask 077; mkdir -p ${FOLDER}; cat > ${STATE_FILE}\n${files}chmod 700 ${SHELL_FILE}`;
}

/** Returns the working directory that a saved state names; `/` for none. */
export function directoryOf(state: string): string {
  return /^#(\/[^\n]*)\n/u.exec(state)?.[1] ?? '/';
}
