import { TOOLS, type HostEnv, type Tool } from '../tools/index.ts';

/**
 * Returns the instructions, which every client shows its model first and some show alone. They are part of every
 * conversation, so they are at most 2 KiB; the first thousand characters must be sufficient.
 */
export function instructionsFor(tools: readonly Tool[], hostEnv: HostEnv = {}): string {
  const has = (name: string): boolean => tools.some((tool) => tool.name === name);
  const work = has('run') && [WORKFLOW, COSTS, BRANCHING];
  const parts = [
    SUMMARY,
    ...(work || [READ_ONLY]),
    has('rsync') && FILES,
    missingText(tools),
    has('run') && secretsText(Object.keys(hostEnv)),
    LAST,
  ];
  return parts.filter((part) => typeof part === 'string').join('\n\n');
}

/** Names the tools that change local files or images and are not offered, for models that know them from elsewhere. */
function missingText(tools: readonly Tool[]): string | undefined {
  const missing = TOOLS.filter(({ name, effect }) => effect !== 'reads' && !tools.some((tool) => tool.name === name));
  if (missing.length === 0 || tools.every(({ effect }) => effect === 'reads')) return undefined;
  return `Not offered by this server: ${missing.map(({ name }) => name).join(', ')}.`;
}

/** Characters of variable names in the instructions; whoami lists all. */
const NAMES_CHARACTERS_MAX = 120;

function secretsText(names: readonly string[]): string | undefined {
  if (names.length === 0) return undefined;
  const all = names.join(', ');
  const told = all.length > NAMES_CHARACTERS_MAX ? 'whoami lists them' : all;
  return `run(env_from=["NAME"]) passes a variable of the user's machine without showing its value. Offered: ${told}.`;
}

const SUMMARY = `ConTree runs commands as root in isolated sandboxes on the user's own machine. Images are immutable: every run can save a new image, and going back is using an older UUID.`;

/** Instructions of a read-only server. */
const READ_ONLY = `This server only looks: list_images finds images, list_files, read_file, grep and diff look into them, list_operations and get_operation show what was run. All of it is free.`;

const WORKFLOW = `1. CHECK list_images(tag_prefix="common/") and your project's prefix; reuse what exists.
2. PREPARE once if nothing fits: import_image(registry_url="docker://python:3.11-slim"); run(command="pip install numpy pandas", image=UUID, disposable=false); set_tag(image_uuid=NEW_UUID, tag="common/python-ml/python:3.11-slim"). Tags are {scope}/{purpose}/{base}; scope is common or a project's name.
3. EXECUTE run(command="python train.py", image="tag:common/python-ml/python:3.11-slim"). Runs are disposable by default: their changes are gone afterwards.`;

const COSTS = `run, import_image, build_image and open_instance cost a VM (seconds); all else is free. Look with list_files, read_file, grep and diff, never run("ls") or run("cat"); put related shell steps into one run.`;

const BRANCHING = `Branches: start runs from one image with wait=false, collect them with wait_operations(operation_ids=[...], mode="any_success" for a race), keep the winner's image_uuid, cancel_operation the rest.
Between runs only the image remains: pass env and cwd, since exports, cd and background processes end with their run; servers need open_instance and run(instance=...). The shell is /bin/sh.
A non-zero exit_code or timed_out is a result, not a tool failure. Long commands: larger timeout, or wait=false. Status EXECUTING: go on with wait_operations; an interrupted call is in list_operations.`;

const FILES = `Files: rsync(source, destination), then run(directory_state_id=...); upload one file, then run(files={"/path": uuid}); download copies out. Local edits need another rsync.`;

const LAST = `image is a UUID or tag:NAME. When a call fails, its second line is the next call to make. More: get_guide(section="workflow"), also quickstart, state, async, tagging, errors, reference.`;
