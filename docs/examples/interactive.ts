import { connect, streamBytes } from 'contree-mcp/client';

await using contree = await connect({ start: true });
const { uuid } = await contree.runs.start({
  command: 'cat',
  image: 'tag:base',
  disposable: true,
  stdin: { value: '', close: false },
});

for await (const event of contree.operations.events(uuid, { follow: true })) {
  if (event.type === 'spawn') await contree.processes.write(uuid, 1, { value: 'hello\n', close: true });
  if (event.type === 'stdout') process.stdout.write(streamBytes(event.data));
  if (event.type === 'exit') console.log(`exit code ${event.data.code}`);
}
