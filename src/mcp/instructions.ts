import type { HostEnv, Tool } from '../tools/index.ts';

/**
 * Returns the instructions, which every client shows its model first and some show alone. The first paragraph must be
 * sufficient; the whole is shorter than 4,096 characters, where clients truncate.
 */
export function instructionsFor(tools: readonly Tool[], hostEnv: HostEnv = {}): string {
  const has = (name: string): boolean => tools.some((tool) => tool.name === name);
  const work = has('run') && [LOOP, WORKFLOW, COSTS, BRANCHING];
  const parts = [
    SUMMARY,
    ...(work || [READ_ONLY]),
    has('rsync') && FILES,
    has('run') && secretsText(Object.keys(hostEnv)),
    LAST,
  ];
  return parts.filter((part) => typeof part === 'string').join('\n\n');
}

/** Number of variable names in the instructions; the others are listed by whoami only. */
const NAMES_TOLD_MAX = 20;

function secretsText(names: readonly string[]): string | undefined {
  if (names.length === 0) return undefined;
  const told = names.slice(0, NAMES_TOLD_MAX).join(', ');
  return `run(env_from=["NAME"]) passes a variable of the user's machine without showing its value. Offered: ${told}.`;
}

const SUMMARY = `ConTree runs commands as root in isolated microVMs on the user's own machine. Images are immutable: every run can save a new image, and going back is using an older UUID.`;

const LOOP = `Loop: CHECK list_images(tag_prefix="common/") for a prepared environment -> PREPARE once if there is none (import_image, run with disposable=false, set_tag) -> EXECUTE run on the tagged image. Look into images with the free tools list_files, read_file, grep, diff; never run("ls") or run("cat").`;

/** Instructions of a read-only server. */
const READ_ONLY = `This server only looks: list_images finds images, list_files, read_file, grep and diff look into them, list_operations and get_operation show what was run. All of it is free.`;

const WORKFLOW = `1. CHECK. list_images(tag_prefix="common/") and your project's prefix. Reuse what exists.
2. PREPARE. import_image(registry_url="docker://python:3.11-slim"); run(command="pip install numpy pandas", image=UUID, disposable=false); set_tag(image_uuid=NEW_UUID, tag="common/python-ml/python:3.11-slim"). Tags are {scope}/{purpose}/{base}; scope is common or a project's name.
3. EXECUTE. run(command="python train.py", image="tag:common/python-ml/python:3.11-slim"). Runs are disposable by default: their changes are gone afterwards.`;

const COSTS = `Costs: run and import_image take a VM (seconds). Everything else is free and takes milliseconds. Prefer free tools, reuse tagged images instead of importing again, and put related shell steps into one run.`;

const BRANCHING = `Branching: start several runs from the same image with wait=false, collect them with wait_operations(operation_ids=[...], mode="any_success" for a race), keep the winner's image_uuid and cancel_operation the rest. Branches never see each other.
State between runs is only what is in the image: pass env and cwd as arguments, since exports, cd and background processes end with their run.
A non-zero exit_code or timed_out=true is a result to read, not a tool failure. Long commands: raise timeout, or wait=false. If a call answers with status EXECUTING, go on with wait_operations; an interrupted call leaves its operation in list_operations.`;

const FILES = `Files: rsync(source, destination) for a project directory, then run(directory_state_id=...); upload for one file, then run(files={"/path": uuid}); download to copy a file out. Local edits need another rsync.`;

const LAST = `image is a UUID or tag:NAME everywhere. When a call fails, its second line is the next call to make. get_guide(section="workflow") explains more; sections: workflow, quickstart, state, async, tagging, errors, reference.`;
