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
      const { structured, text } = await mcp.call('set_tag', { image_uuid: second, tag: 'common/base' });
      assert.deepEqual(
        asked.map(({ message }) => message),
        [`Move tag:common/base from image ${first} to image ${second}?`],
      );
      const moved = action === 'accept';
      assert.equal((await contree.images.get('tag:common/base')).uuid, moved ? second : first, action);
      if (moved) assert.deepEqual([structured.uuid, structured.previous_uuid], [second, first]);
      else assert.match(text, new RegExp(`^TAG_NOT_MOVED: .*\nUse image="${second}" meanwhile`, 'u'), action);
    }
  });

  test(`${era}: a tag that did not move is a failure that tells a refusal from a question nobody answered`, async () => {
    const { contree, second } = tagged();
    const move = { image_uuid: second, tag: 'common/base' };
    await using declining = await connectMcp(contree, era, { client: FORM, prepare: user('decline', []) });
    const declined = await declining.call('set_tag', move);
    assert.equal(declined.isError, true);
    assert.match(declined.text, /the user declined\n/u);
    assert.doesNotMatch(declined.text, /force/u, 'a refusal is not to be overridden');
    // Clients without a user, such as `claude -p`, declare that they can ask and dismiss every question.
    await using headless = await connectMcp(contree, era, { client: FORM, prepare: user('cancel', []) });
    const dismissed = await headless.call('set_tag', move);
    assert.equal(dismissed.isError, true);
    assert.doesNotMatch(dismissed.text, /declined/u);
    assert.match(dismissed.text, /If the user has asked for the move, call set_tag\(.*force=true\)/u);
    const { tools } = await headless.client.listTools();
    assert.ok('force' in (tools.find(({ name }) => name === 'set_tag')?.inputSchema.properties ?? {}));
    assert.equal((await headless.call('set_tag', { ...move, force: true })).structured.uuid, second);
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
      ['decline', 'declined'],
      ['cancel', 'known'],
    ] as const) {
      const asked: { message: string; url?: string }[] = [];
      await using mcp = await connectMcp(new ScriptedContree(), era, { client: PAGE, prepare: user(action, asked) });
      const { structured } = await mcp.call('registry_token_obtain', { registry_url: 'ghcr.io/owner/app' });
      assert.equal(structured.status, status);
      assert.equal(asked[0]?.url, structured.url);
      assert.match(structured.url, /^https:\/\/github\.com\//u);
      assert.match(asked[0]?.message ?? '', /read:packages/u);
    }
    // Parsers of the revision before refuse a question without an id, which ours must not depend on seeing.
    await using older = await connectMcp(new ScriptedContree(), era, { client: PAGE, prepare: user('accept', []) });
    const { transport } = older.client;
    assert.ok(transport);
    const raw: string[] = [];
    const receive = transport.onmessage;
    // The transport of the SDK is not an EventTarget.
    // oxlint-disable-next-line unicorn/prefer-add-event-listener
    transport.onmessage = (message, extra) => {
      raw.push(JSON.stringify(message));
      receive?.(message, extra);
    };
    await older.call('registry_token_obtain', { registry_url: 'ghcr.io' });
    assert.match(raw.join('\n'), /"elicitationId":"[^"]+"/u);
    await using silent = await connectMcp(new ScriptedContree(), era, { client: FORM });
    const { structured } = await silent.call('registry_token_obtain', { registry_url: 'ghcr.io' });
    assert.deepEqual([structured.status, structured.registry], ['known', 'ghcr.io']);
  });
}
