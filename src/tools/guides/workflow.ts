import type { Guide } from './guide.ts';

export const workflowGuide: Guide = {
  title: 'Workflow: check, prepare, execute',
  text: `# Workflow: check, prepare, execute

Work in three steps. The first is free and often makes the second unnecessary.

## 1. CHECK for a prepared environment

\`\`\`
list_images(tag_prefix="common/")
list_images(tag_prefix="myproject/")
\`\`\`

Tags outlive conversations: what you or another agent prepared last week is still there.

## 2. PREPARE one if there is none

\`\`\`
import_image(registry_url="docker://python:3.11-slim")
run(command="pip install numpy pandas", image="$image_uuid", disposable=false)
set_tag(image_uuid="$image_uuid", tag="common/python-ml/python:3.11-slim")
\`\`\`

- \`disposable=false\` saves what the command changed as a new image; its UUID is \`image_uuid\` of the result.
- Chain preparation steps in one command (\`apt-get update && apt-get install -y git\`) when they belong together; use
  separate runs where you want a checkpoint between them.
- Tag what is worth keeping. Untagged images stay usable by UUID.

## 3. EXECUTE the task

\`\`\`
run(command="python train.py", image="tag:common/python-ml/python:3.11-slim")
\`\`\`

Runs are disposable unless you say otherwise: whatever they write is gone afterwards, and the image is as it was.

## What costs what

| cost | tools |
|---|---|
| a VM (0.5–5 s plus the command itself) | run, import_image, build_image, open_instance |
| free (milliseconds) | everything else |

So look before you run: \`list_files\`, \`read_file\` and \`grep\` read an image without starting anything, and \`diff\` shows
what a run changed.

\`\`\`
list_files(image="tag:common/python-ml/python:3.11-slim", path="/usr/local/lib")
read_file(image="tag:common/python-ml/python:3.11-slim", path="/etc/os-release")
grep(image="tag:common/python-ml/python:3.11-slim", patterns=["VERSION"], paths=["/etc/os-release"])
\`\`\`

## Your own files

\`\`\`
rsync(source="/home/user/project", destination="/work", exclude=["dist/"])
run(command="pytest", image="tag:common/python-ml/python:3.11-slim", cwd="/work", directory_state_id="$directory_state_id")
download(image="$image_uuid", path="/work/report.html", destination="/home/user/report.html")
\`\`\`

Sync again after local edits; only what changed is sent. Read next: state (images and branches), async (parallel runs).
`,
};
