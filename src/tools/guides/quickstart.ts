import type { Guide } from './guide.ts';

export const quickstartGuide: Guide = {
  title: 'Quickstart: one task from nothing to result',
  text: `# Quickstart

One task from nothing to a result, with the calls in the order in which you make them.

\`\`\`
list_images(tag_prefix="common/")
import_image(registry_url="docker://python:3.11-slim", tag="common/python/python:3.11-slim")
run(command="python -c 'print(6*7)'", image="tag:common/python/python:3.11-slim")
\`\`\`

Install something and keep it:

\`\`\`
run(command="pip install pytest", image="tag:common/python/python:3.11-slim", disposable=false)
set_tag(image_uuid="$image_uuid", tag="common/pytest/python:3.11-slim")
\`\`\`

Bring a file, run it, read what it wrote:

\`\`\`
upload(content="open('/out.txt', 'w').write('done')")
run(command="python /job.py", image="tag:common/pytest/python:3.11-slim", files={"/job.py": "$uuid"}, disposable=false)
diff(from_image="tag:common/pytest/python:3.11-slim", to_image="$image_uuid")
read_file(image="$image_uuid", path="/out.txt")
\`\`\`

Remember:

- Commands run as root, in a machine of their own, with network access. Nothing they do reaches the user's machine.
- \`exit_code\` says whether the command succeeded; a non-zero one is a result to read, not a failure of the tool.
- Standard output and error come back head and tail; \`get_operation(operation_id=…, stream="stdout", offset=…)\` pages
  through the rest without running again.
- Set variables with \`env={"NAME": "value"}\`, not with \`export\` in another run: each run is a new machine.
- Large or slow commands: give \`timeout\` in seconds, or \`wait=false\` and collect later (see async).
`,
};
