import { limits } from '../../contract/limits.ts';
import type { Guide } from './guide.ts';

export const referenceGuide: Guide = {
  title: 'Reference: tools, arguments, addresses',
  text: `# Reference

## Tools

| tool | cost | for |
|---|---|---|
| run | vm | a command as root in a fresh sandbox |
| open_instance, snapshot, close_instance | vm, free, free | a sandbox that stays, for run(instance=…) |
| import_image | vm | an image from an OCI registry |
| build_image | vm | an image from a Dockerfile: a text, or a path in the folder that rsync(…, destination="/") stored; \`steps\` has an image per instruction |
| list_images, get_image, set_tag | free | find and name images |
| list_files, read_file, grep, diff | free | look into images without a VM |
| upload, rsync, download | free | files in and out |
| wait_operations, get_operation, list_operations, cancel_operation | free | operations |
| registry_auth, registry_token_obtain | free | private registries |
| whoami, get_guide | free | limits; this text |

## Images

\`image\` is a UUID, \`tag:NAME\`, or the whole name of a tag. \`registry_url\` is \`docker://HOST/REPOSITORY:TAG\`, \`oci://…\`, or a short name: \`python:3.11-slim\`
means Docker Hub's. Platform is that of this machine.

## run

\`\`\`
run(command="printenv GREETING", image="tag:common/base", env={"GREETING": "hello"})
run(command="/usr/bin/wc", args=["-l"], shell=false, stdin="one\\ntwo\\n", image="tag:common/base")
run(command="cargo build", image="tag:common/base", cwd="/work", timeout=1800, cpus=2, memory_mib=4096)
run(command="curl -sI https://packages.example.org", image="tag:common/base", network="allowlist", allow=["packages.example.org"])
\`\`\`

- \`shell=true\` (default): command is a line for /bin/sh, or for the \`SHELL\` in env, as /bin/bash. \`shell=false\`: command is a program
  and \`args\` its arguments, unparsed.
- \`env={"NAME": null}\` unsets a variable of the image; \`preserve_env=true\` keeps env in the new image.
- \`files={"/path": {"uuid": …, "mode": "0755"}}\` sets the mode of a file (default 0644). \`uid\` and \`gid\` (default 0) run as another user.
- A \`cwd\` that is not in the image is made, empty. \`max_layer_bytes\` bounds what a run may write.
- \`network\`: \`public\` (default; the internet, never the user's machine or local network), \`none\`, or \`allowlist\` with \`allow\`.
- \`sandbox\`: \`microvm\` for a kernel of its own (modules, \`mount\` of disks, eBPF), \`gvisor\`, or \`auto\` (default of most servers).
- \`reuse=true\` answers at once with the result of an equal earlier run (same image, command, files, env …) that ended with 0 and
  used no network and no secret, and says so: \`reused\`, \`reused_age_s\`, \`reused_operation\`. \`reuse="network"\` accepts one that used its network.
- \`timeout\` in seconds; when it is over the processes are ended and the output so far is returned.
- \`truncate_output_at\` bounds what is *shown* per stream; up to ${limits.outputBytesKept / 2 ** 20} MiB are kept and can be paged.

Result: \`exit_code\`, \`stdout\`, \`stderr\`, \`image_uuid\` (with disposable=false; \`filesystem_changed: false\` where it is the old one),
\`status\`, \`duration_s\`, \`sandbox\`, \`accelerator\` where it is emulated (several times slower), \`operation_id\`. get_operation adds
\`cpu_s\` and \`max_rss\` (KiB).

## Addresses (resources)

| address | content |
|---|---|
| contree://image/{image} | an image |
| contree://image/{image}/ls/{path} | a directory |
| contree://image/{image}/read/{path} | a file |
| contree://image/{image}/lineage | ancestors and children |
| contree://operations/instance/{id} | a run; /stdout and /stderr below it |
| contree://operations/import/{id} | an import |
| contree://guide/{section} | a guide |

A tag in an address is percent-encoded: \`tag%3Acommon%2Fbase\`. A path is without its leading slash.

## Names that are not text

Linux file names are bytes. One that is not UTF-8 is shown with its odd bytes written as an escape, and the shown form is accepted wherever a
path is.
`,
};
