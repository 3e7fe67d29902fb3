import { connect, runOutcome } from 'contree-mcp/client';

await using contree = await connect({ start: true });
const url = process.argv[2] ?? 'docker://busybox';
const { uuid } = await contree.images.import({ registry: { url }, tag: 'base' });
await contree.operations.wait(uuid);
const command = 'echo "as $(id -u)" | tee /root/note';
const run = await contree.runs.start({ command, shell: true, image: 'tag:base' });
const { exit_code, stdout, image } = runOutcome(await contree.operations.wait(run.uuid));
console.log({ exit_code, stdout, image });
