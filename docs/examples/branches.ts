import { text } from 'node:stream/consumers';
import { connect } from 'contree-mcp/client';

await using contree = await connect({ start: true });
const started = ['one', 'two'].map((word) =>
  contree.runs.start({ command: `echo ${word} > /root/choice`, shell: true, image: 'tag:base' }),
);

for (const { uuid } of await Promise.all(started)) {
  const { result_image_uuid: image } = await contree.operations.wait(uuid);
  if (image === null) continue;
  const { entries } = await contree.images.diff('tag:base', { to: image });
  const file = await contree.files.read(image, { path: '/root/choice' });
  console.log(entries.map(({ change, path }) => `${change} ${path}`).join(', '), (await text(file.body)).trim());
}
