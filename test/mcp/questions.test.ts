import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Client } from '@modelcontextprotocol/client';
import { connectMcp, ERAS } from '../support/mcp/client.ts';
import { ScriptedContree } from '../support/scripted/contree.ts';

type Action = 'accept' | 'decline' | 'cancel';

/** A client with a scripted user, and the questions that the user got. */
function user(action: Action, asked: { message: string; url?: string }[]): (client: Client) => void {
  return (client) =>
    client.setRequestHandler('elicitation/create', async ({ params }) => {
      asked.push({ message: params.message, ...('url' in params && { url: params.url }) });
      return { action };
    });
}

const FORM = { capabilities: { elicitation: { form: {} } } };
const PAGE = { capabilities: { elicitation: { url: {} } } };

/** Two images, the first of which has the tag. */
function tagged(): { contree: ScriptedContree; first: string; second: string } {
  const contree = new ScriptedContree();
  return { contree, first: contree.addImage({}, 'common/base'), second: contree.addImage({ '/x': '' }) };
}

for (const era of ERAS) {
  test(`${era}: a tag that would move is the user's to decide, and moves when the user agrees`, async () => {
    for (const action of ['accept', 'decline', 'cancel'] as const) {
      const { contree, first, second } = tagged();
      const asked: { message: string }[] = [];
      await using mcp = await connectMcp(contree, era, { client: FORM, prepare: user(action, asked) });
      const { structured, isError } = await mcp.call('set_tag', { image_uuid: second, tag: 'common/base' });
      assert.equal(isError, false);
      assert.deepEqual(
        asked.map(({ message }) => message),
        [`Move tag:common/base from image ${first} to image ${second}?`],
      );
      const moved = action === 'accept';
      assert.equal((await contree.images.get('tag:common/base')).uuid, moved ? second : first, action);
      assert.equal(structured.uuid, moved ? second : first);
      assert.equal(structured.previous_uuid, moved ? first : undefined);
      if (!moved) assert.match(structured.hint, /stays where it was; force=true moves it without asking/u);
    }
  });

  test(`${era}: nobody is asked about a new tag, the same image, force=true, or where the client cannot ask`, async () => {
    const { contree, first, second } = tagged();
    const asked: { message: string }[] = [];
    await using mcp = await connectMcp(contree, era, { client: FORM, prepare: user('decline', asked) });
    await mcp.call('set_tag', { image_uuid: second, tag: 'common/new' });
    await mcp.call('set_tag', { image_uuid: 'tag:common/base', tag: 'common/base' });
    await mcp.call('set_tag', { image_uuid: second, tag: 'common/base', force: true });
    assert.deepEqual(asked, []);
    assert.equal((await contree.images.get('tag:common/base')).uuid, second);
    await using silent = await connectMcp(contree, era);
    assert.equal(
      (await silent.call('set_tag', { image_uuid: first, tag: 'common/base' })).structured.previous_uuid,
      second,
    );
    await using pagesOnly = await connectMcp(contree, era, { client: PAGE });
    assert.equal((await pagesOnly.call('set_tag', { image_uuid: second, tag: 'common/base' })).structured.uuid, second);
  });

  test(`${era}: the page for a token is opened where the client can, and always told`, async () => {
    for (const [action, status] of [
      ['accept', 'opened'],
      ['cancel', 'declined'],
    ] as const) {
      const asked: { message: string; url?: string }[] = [];
      await using mcp = await connectMcp(new ScriptedContree(), era, { client: PAGE, prepare: user(action, asked) });
      const { structured } = await mcp.call('registry_token_obtain', { registry_url: 'ghcr.io/owner/app' });
      assert.equal(structured.status, status);
      assert.equal(asked[0]?.url, structured.url);
      assert.match(structured.url, /^https:\/\/github\.com\//u);
      assert.match(asked[0]?.message ?? '', /read:packages/u);
    }
    await using silent = await connectMcp(new ScriptedContree(), era, { client: FORM });
    const { structured } = await silent.call('registry_token_obtain', { registry_url: 'ghcr.io' });
    assert.deepEqual([structured.status, structured.registry], ['known', 'ghcr.io']);
  });
}
