import { completable } from '@modelcontextprotocol/server';
import { z } from 'zod';
import type { Completions } from './completion.ts';
import type { McpSession } from './session.ts';

interface Prompt {
  readonly name: string;
  readonly title: string;
  readonly description: string;
  /** Argument → description; a value in `defaults` makes it optional. */
  readonly arguments: Readonly<Record<string, string>>;
  readonly defaults: Readonly<Record<string, string>>;
  readonly text: (given: Record<string, string>) => string;
}

const IMAGE = 'image UUID or tag:NAME';

const PROMPTS: readonly Prompt[] = [
  {
    name: 'prepare-environment',
    title: 'Prepare an environment',
    description: 'Find or build a tagged image for a task',
    arguments: {
      task: 'what the environment is for',
      base: 'image to start from',
      project: 'project name, for the tag',
      packages: 'packages to install',
    },
    defaults: { base: 'python:3.11-slim', project: 'common', packages: '' },
    text: ({ task, base, project, packages }) => `Prepare a ConTree environment for: ${task}

1. CHECK: list_images(tag_prefix="${project}/") and list_images(tag_prefix="common/"). If one fits, report its tag and stop.
2. PREPARE: import_image(registry_url="docker://${base}") unless an image of it exists. Then run(…, disposable=false) to install ${packages || 'what the task needs'}, in as few runs as make sense.
3. Verify with one disposable run that it works.
4. set_tag(image_uuid=…, tag="${project}/PURPOSE/${base}") with a short word for PURPOSE.

Report the tag, what is installed, and the UUID.`,
  },
  {
    name: 'run-python',
    title: 'Run Python code',
    description: 'Run Python code in a sandbox',
    arguments: { code: 'the code' },
    defaults: {},
    text: ({ code }) => `Run this Python code in a ConTree sandbox and report its output.

Find a Python image with list_images(tag_prefix="common/python"); if there is none, import_image(registry_url="docker://python:3.11-slim", tag="common/python/python:3.11-slim"). Upload the code with upload(content=…) and run it with files={"/tmp/main.py": UUID}, command="python /tmp/main.py".

\`\`\`python
${code}
\`\`\``,
  },
  {
    name: 'run-shell',
    title: 'Run a shell command',
    description: 'Run a shell command in a sandbox',
    arguments: { command: 'the command', image: IMAGE },
    defaults: { image: 'ubuntu:noble' },
    text: ({ command, image }) => `Run this command with run(image=…) and report exit code and output: ${command}

Image: ${image}. If no such image or tag exists, look with list_images, then import_image(registry_url="docker://${image}").`,
  },
  {
    name: 'sync-and-run',
    title: 'Sync a directory and run',
    description: 'Sync a local directory into a sandbox and run a command on it',
    arguments: { source: 'local directory', command: 'the command', image: IMAGE },
    defaults: { image: 'alpine:latest' },
    text: ({
      source,
      command,
      image,
    }) => `1. rsync(source="${source}", destination="/work") and note directory_state_id; mention what was skipped.
2. Make sure an image for ${image} exists (list_images, else import_image).
3. run(command=${JSON.stringify(command)}, image=…, cwd="/work", directory_state_id=…).
4. Report exit code and the part of the output that matters. After local edits repeat from step 1.`,
  },
  {
    name: 'install-packages',
    title: 'Install packages',
    description: 'Install packages and save the result as an image',
    arguments: { packages: 'packages to install', image: IMAGE },
    defaults: {},
    text: ({ packages, image }) =>
      `Install ${packages} on top of ${image} with one run(…, disposable=false), using the package manager that the image has (read_file "/etc/os-release" tells). Check with diff what was added, verify with a disposable run, and tag the result. If the installation fails, show the decisive lines and try once with a fix.`,
  },
  {
    name: 'parallel-tasks',
    title: 'Run tasks in parallel',
    description: 'Run several tasks as parallel branches of one image',
    arguments: { tasks: 'the tasks, one per line', image: IMAGE },
    defaults: {},
    text: ({ tasks, image }) => `Run these tasks as parallel branches of ${image}:

${tasks}

1. Resolve the image once with get_image and use its UUID for all.
2. Start each with run(…, wait=false) and note the operation ids.
3. wait_operations(operation_ids=[…], mode="all"); call it again while timed_out is true.
4. Give a table: task, exit code, duration, the line that matters.`,
  },
  {
    name: 'compare',
    title: 'Compare branches',
    description: 'Race several ways from one image and keep the best',
    arguments: { commands: 'the commands to compare, one per line', image: IMAGE, goal: 'what makes one the best' },
    defaults: { goal: 'it succeeds, and is the quickest' },
    text: ({ commands, image, goal }) => `Compare these ways, each in its own branch of image ${image}:

${commands}

1. Resolve the image once with get_image, so that all start from the same state.
2. Start each with run(…, disposable=false, wait=false) and note which operation_id is which.
3. wait_operations(operation_ids=[…], mode="all"); call it again while timed_out is true.
4. See what each changed: diff(from_image=…, to_image=image_uuid of its result), without starting anything.
5. Give a table: command, exit code, duration, files changed. Say which is the best (${goal}) and why, and tag only that image.`,
  },
  {
    name: 'build-project',
    title: 'Build and test a project',
    description: 'Install and test a local project in a sandbox',
    arguments: { source: 'local directory', install_cmd: 'how to install', test_cmd: 'how to test' },
    defaults: { install_cmd: 'pip install -e .', test_cmd: 'pytest' },
    text: ({ source, install_cmd, test_cmd }) => `Build and test the project at ${source}.

1. rsync(source="${source}", destination="/work").
2. Choose a base: list_images first; import one only if nothing fits.
3. run(command=${JSON.stringify(install_cmd)}, cwd="/work", directory_state_id=…, disposable=false) and keep image_uuid.
4. run(command=${JSON.stringify(test_cmd)}, image=image_uuid, cwd="/work").
5. If tests fail, read the output and explain the cause with file and line. If the installation is reusable, tag the image.`,
  },
  {
    name: 'debug-failure',
    title: 'Debug a failed operation',
    description: 'Find out why an operation failed',
    arguments: { operation_id: 'operation UUID' },
    defaults: {},
    text: ({ operation_id }) => `Find out why operation ${operation_id} failed.

1. get_operation(operation_id="${operation_id}"); if output was cut, page it with stream="stderr", offset=-8000.
2. Look at the image with the free tools: list_files, read_file, grep.
3. State the most likely cause and the evidence. Only then run something to confirm it, disposable.
4. Propose the smallest fix as an exact run(…) call.`,
  },
  {
    name: 'inspect-image',
    title: 'Inspect an image',
    description: 'Describe an image without starting it',
    arguments: { image: IMAGE },
    defaults: {},
    text: ({ image }) =>
      `Describe image ${image} with free tools only (no run): distribution (/etc/os-release), languages and package managers, installed packages as far as files show them, what differs from its parent (get_image, then diff), and where it comes from (contree://image/…/lineage).`,
  },
  {
    name: 'multi-stage-build',
    title: 'Build in stages',
    description: 'Install, build and test in checkpoints',
    arguments: {
      source: 'local directory',
      install_cmd: 'how to install dependencies',
      build_cmd: 'how to build',
      test_cmd: 'how to test',
    },
    defaults: { build_cmd: 'python -m build', test_cmd: 'pytest' },
    text: ({ source, install_cmd, build_cmd, test_cmd }) => `Build ${source} in stages, each a checkpoint to return to:

1. rsync(source="${source}", destination="/work").
2. Dependencies: run(${JSON.stringify(install_cmd)}, disposable=false, directory_state_id=…) -> image A; tag it.
3. Build: run(${JSON.stringify(build_cmd)}, image=A, disposable=false) -> image B; diff(A, B) shows the artefacts.
4. Test: run(${JSON.stringify(test_cmd)}, image=B).
5. If a stage fails, fix it and start again from the checkpoint before it, not from the beginning. download the artefacts at the end.`,
  },
];

/** Reports whether a prompt leads to a call of a tool that is not offered. */
function needsMissing({ text, arguments: args }: Prompt, missingTools: readonly string[]): boolean {
  const words = text(Object.fromEntries(Object.keys(args).map((name) => [name, ''])));
  return missingTools.some((name) => new RegExp(`\\b${name}\\(`, 'u').test(words));
}

export function registerPrompts({ server, context }: McpSession, completions: Completions): void {
  for (const prompt of PROMPTS) {
    if (needsMissing(prompt, context.missingTools)) continue;
    const { name, title, description, defaults } = prompt;
    const argsSchema = z.object(
      Object.fromEntries(
        Object.entries(prompt.arguments).map(([argument, about]) => [
          argument,
          argumentSchema(argument, about, argument in defaults, completions),
        ]),
      ),
    );
    server.registerPrompt(name, { title, description, argsSchema }, (given) => {
      const texts = Object.entries(given).filter((entry): entry is [string, string] => typeof entry[1] === 'string');
      const text = prompt.text({ ...defaults, ...Object.fromEntries(texts) });
      return { messages: [{ role: 'user', content: { type: 'text', text } }] };
    });
  }
}

function argumentSchema(name: string, about: string, optional: boolean, { image, operation }: Completions): z.ZodType {
  const text = z.string().max(100_000).describe(about);
  const described = optional ? text.optional() : text;
  const suggest = { image, base: image, operation_id: operation }[name];
  return suggest === undefined ? described : completable(described, async (value) => await suggest(value ?? ''));
}
