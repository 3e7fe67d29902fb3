import type { Command } from 'commander';

/**
 * Returns the skill for agents: a SKILL.md with the header that the Agent Skills format asks for. Its list of commands is
 * that of the program.
 */
export function skillText(program: Command): string {
  const commands = program.commands.filter((command) => !NOT_FOR_AGENTS.has(command.name()));
  const rows = commands.map((command) => `| \`contree ${command.name()}\` | ${command.summary()} |`);
  return `${HEAD}\n| command | what |\n|---|---|\n${rows.join('\n')}\n${TAIL}`;
}

/** Commands that manage the installation. */
const NOT_FOR_AGENTS = new Set(['engine', 'serve', 'token', 'project', 'install', 'skill', 'gc', 'profile']);

const HEAD = `---
name: contree
description: Run commands as root in isolated sandboxes on this machine with the contree command line; keep, branch and roll back their file systems. Use it to try builds, packages, tests or untrusted code without touching the host.
---

# ConTree on the command line

Every image is immutable and has a UUID. A run starts from an image and, unless it is disposable (\`-D\`), makes a new one;
rolling back is using an older UUID.

\`\`\`sh
contree images --prefix common/                     # 1. is there a prepared image?
contree import python:3.11-slim --tag base          # 2. if not, prepare one
contree run base --tag deps -- pip install pytest   #    every run that is kept is a new image
state=$(contree rsync . /work)                      # 3. your files; what git ignores stays here
contree run -D deps --state "$state" --workdir /work -- pytest
contree run -d deps -- sh -c 'one way'              # 4. branches: start several, then wait
contree wait --all --timeout 600
id=$(contree open -q -p 8000 deps)                  #    a sandbox that stays: exec, snapshot, expose, close
contree exec -d "$id" -- python3 -m http.server 8000
contree cat deps /etc/os-release                    # reading needs no run: ls, cat, grep, diff
contree cp deps:/work/report.html .                 # 5. files out
\`\`\`

The exit code of \`contree run\` is that of the command (124: timed out). \`--json\` prints one JSON value, \`--format csv\` tables.
`;

const TAIL = `
\`contree help COMMAND\` has the options, \`contree help --all\` the manual. \`contree doctor\` says what a machine lacks.
`;
