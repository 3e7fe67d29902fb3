import { connect, isFault } from 'contree-mcp/client';

await using contree = await connect({
  url: process.env['SANDBOXES_URL'] ?? 'http://127.0.0.1:9452',
  token: process.env['SANDBOXES_TOKEN'] ?? '',
});

for (const { uuid, tag } of await contree.images.list({ tagged: true })) console.log(uuid, tag);

try {
  await contree.images.get('tag:no-such-tag');
} catch (error) {
  if (!isFault(error, 'IMAGE_NOT_FOUND')) throw error;
  console.log(`${error.message}\n${error.hint}`);
}
