import type { Guide } from './guide.ts';

export const errorsGuide: Guide = {
  title: 'Errors and what to do',
  text: `# Errors and what to do

A failed call starts with a code and what failed; its second line is the next call to make. Three things are *not* errors, because they
are results of your command: a non-zero \`exit_code\`, a \`signal\`, and \`timed_out: true\`.

| what you see | what it means | what to do |
|---|---|---|
| exit_code 127 | the image has no such command, or the line is written for bash | the hint says which |
| exit_code 126 | the file cannot be executed | check its mode with list_files, or run it through its interpreter |
| timed_out: true | the command was stopped by timeout | larger timeout, or split the work; what a run with disposable=false saved is unfinished |
| out_of_memory: true | the guest ran out of memory | run again with memory_mib |
| IMAGE_NOT_FOUND | no such UUID or tag | list_images with a shorter tag_prefix |
| FILE_NOT_FOUND | the path is not in that image | list_files of the directory above; a disposable run saved nothing |
| UPLOAD_NOT_FOUND, DIRECTORY_STATE_NOT_FOUND | the handle is unknown or was removed | upload or rsync again |
| REGISTRY_DENIED | the registry wants an account, or the name is wrong | check the name; then registry_auth |
| REGISTRY_RATE_LIMITED | too many anonymous pulls | wait, or registry_auth |
| LOCAL_FILE_NOT_FOUND | the path is not on the user's machine | correct it; list_files shows images only |
| PATH_OUTSIDE_ROOT | the local path is not in an allowed folder | use a path below the folder that the message names |
| BUILD_FAILED | a step of a Dockerfile failed; the message has its line, the end of its output and the image before it | open_instance with that image; correct the line; build_image again |
| OPERATION_LIMIT | too many operations at once | wait_operations on your own, then again |
| DRIVER_UNAVAILABLE | this machine cannot start a sandbox now | ask the user to run "contree doctor" |
| "This can pass" on the third line | temporary | repeat the same call once or twice |

## Finding out

\`\`\`
get_operation(operation_id="$operation_id")
get_operation(operation_id="$operation_id", stream="stderr", offset=-4000)
list_operations(status="FAILED", since="1h")
whoami()
\`\`\`

Frequent causes of surprise: a variable set in one run is not set in the next (use \`env\`); files written by a disposable run are gone
(use \`disposable=false\`); a background process ended with its run; \`cd\` does not carry over (use \`cwd\`).
`,
};
