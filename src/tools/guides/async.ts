import { limits } from '../../contract/limits.ts';
import type { Guide } from './guide.ts';

export const asyncGuide: Guide = {
  title: 'Async: parallel and long operations',
  text: `# Async: parallel and long operations

\`run\` and \`import_image\` start an operation and by default wait for it. The operation lives in the engine, not in your call:
when your client gives up waiting, it goes on, and its id finds the result.

## Start several, collect together

\`\`\`
run(command="pytest tests/unit", image="tag:common/pytest/python:3.11-slim", wait=false)
run(command="pytest tests/slow", image="tag:common/pytest/python:3.11-slim", wait=false, timeout=1800)
wait_operations(operation_ids=["$operation_id"])
\`\`\`

Status goes PENDING → ASSIGNED → EXECUTING and ends as SUCCESS, FAILED or CANCELLED. SUCCESS means that the command was run;
whether it succeeded is \`exit_code\`. FAILED means that it could not be run, and \`error\` says why.

## Race: the first good one wins

\`\`\`
wait_operations(operation_ids=["$operation_id"], mode="any_success", timeout=600)
\`\`\`

| mode | returns when |
|---|---|
| all | every operation has ended |
| any | the first has ended, well or not |
| any_success | the first has ended with exit_code 0 |

\`winner\` names it, \`results\` has a result for each that ended, \`pending\` lists what still runs. Waiting never cancels anything: stop the losers yourself.

\`\`\`
cancel_operation(operation_ids=["$operation_id"])
\`\`\`

## When a wait ends early

\`timed_out: true\` of wait_operations means only that the wait is over; call it again with the pending ids. Where a client shows no
progress, run answers after 45 seconds with the operation id and its status, for the same reason. The \`timed_out\` of a run is something else: the
command itself was stopped by its \`timeout\`.

## Look at what runs, page what it wrote

\`\`\`
list_operations(status="EXECUTING")
get_operation(operation_id="$operation_id")
get_operation(operation_id="$operation_id", stream="stdout", offset=-4000)
\`\`\`

Up to ${limits.outputBytesKept / 2 ** 20} MiB of each stream are kept, also of finished operations and while one is still running.
`,
};
