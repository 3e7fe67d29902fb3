import type { Guide } from './guide.ts';

export const stateGuide: Guide = {
  title: 'State: images, branches, rollback',
  text: `# State: images, branches, rollback

An image is a whole filesystem that never changes. It has a UUID. A run starts from an image and, with
\`disposable=false\`, ends in a new image whose parent is the one it started from. Nothing else is left of it: no
session, no container, nothing to clean up.

## Chain: continue where a run ended

\`\`\`
run(command="apt-get update && apt-get install -y build-essential", image="tag:common/base", disposable=false)
run(command="make", image="$image_uuid", disposable=false)
\`\`\`

The second run sees every file of the first. It does not see its processes, environment variables or working directory:
those end with the machine. Pass \`env\`, \`cwd\`, or write files. \`preserve_env=true\` keeps \`env\` in the new image.

## Stay: an instance whose processes go on

\`\`\`
open_instance(image="tag:common/base")
run(command="python -m http.server 8000", instance="$instance", wait=false)
run(command="curl -s localhost:8000", instance="$instance")
snapshot(instance="$instance", tag="myproject/state")
close_instance(instance="$instance")
\`\`\`

Commands take milliseconds there, run side by side, and see each other's files and ports. \`publish=[8000]\` of open_instance gives
the port an address on the user's machine. Variables and \`cd\` do not carry over: pass \`env\` and \`cwd\`. An instance that nobody uses
for half an hour ends and keeps its files as an image.

## Branch: several runs from one image

\`\`\`
run(command="python fix_a.py && pytest", image="$image_uuid", disposable=false, wait=false)
run(command="python fix_b.py && pytest", image="$image_uuid", disposable=false, wait=false)
\`\`\`

Each branch starts from the same bytes and cannot disturb the other. Keep the winner's \`image_uuid\`; forget the rest.

## Roll back: use the older UUID

There is no undo call because nothing was changed. Every earlier UUID still works.

\`\`\`
get_image(image="$image_uuid")
\`\`\`

\`parent\` is one step back; the resource \`contree://image/{uuid}/lineage\` is the whole chain with the command of each step.

## What changed

\`\`\`
diff(from_image="tag:common/base", to_image="$image_uuid", patch=true)
\`\`\`

A run that changed nothing returns the image it started from and says \`filesystem_changed: false\`.

## Files from outside

\`rsync\` gives a directory state id, \`upload\` a file uuid. Both are handles to stored contents, not to the local files: they
stay valid until they are old and unused, and a run that names them gets exactly those bytes. In a run with \`disposable=false\` they
become part of the new image.

\`rsync\` leaves out \`.git\` and what git ignores (\`gitignore=false\` brings it, \`exclude=["!dist"]\` a part of it). It adds and
replaces files; with \`mirror="tag:NAME"\` the state also removes what that image has at the destination and the local directory
lacks, but nothing that was left out, such as \`node_modules\` that a run installed.
`,
};
