import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Client } from '@modelcontextprotocol/client';
import { fault } from '../../src/contract/errors.ts';
import type { Accounts, SignInCredentials } from '../../src/tools/index.ts';
import { connectMcp, ERAS } from '../support/mcp/client.ts';
import { ScriptedContree } from '../support/scripted/contree.ts';

/** A registry that accepts one secret. */
class ScriptedAccounts implements Accounts {
  readonly stored = new Map<string, SignInCredentials>();

  async find(registry: string): Promise<{ username: string } | undefined> {
    const found = this.stored.get(registry);
    return found && { username: found.username };
  }

  async signIn(registry: string, credentials: SignInCredentials): Promise<void> {
    if (credentials.secret !== 'right') throw fault('REGISTRY_DENIED', { registry, status: 401 });
    this.stored.set(registry, credentials);
  }
}

const ELICITATION = { client: { capabilities: { elicitation: { url: {}, form: {} } } } };

/** Plays the user in a browser: opens the page, fills in the form, submits it. */
async function fillIn(
  url: string,
  fields: Record<string, string>,
  headers: Record<string, string> = {},
): Promise<Response> {
  return await fetch(url, {
    method: 'POST',
    headers: { origin: new URL(url).origin, ...headers },
    body: new URLSearchParams(fields),
  });
}

function onElicitation(client: Client, answer: (url: string) => Promise<'accept' | 'decline' | 'cancel'>): void {
  client.setRequestHandler('elicitation/create', async ({ params }) => {
    assert.equal(params.mode, 'url');
    return { action: await answer('url' in params ? params.url : '') };
  });
}

for (const era of ERAS) {
  test(`${era}: the user signs in on a page of this machine, and no secret passes the client`, async () => {
    const accounts = new ScriptedAccounts();
    const seen: string[] = [];
    await using mcp = await connectMcp(new ScriptedContree(), era, {
      ...ELICITATION,
      accounts,
      prepare: (client) =>
        onElicitation(client, async (url) => {
          const page = await fetch(url);
          seen.push(await page.text(), page.headers.get('content-security-policy') ?? '');
          seen.push(await (await fillIn(url, { username: 'ann', secret: 'wrong' })).text());
          seen.push(await (await fillIn(url, { username: 'ann', secret: 'right' })).text());
          return 'accept';
        }),
    });
    const answer = await mcp.call('registry_auth', { registry_url: 'docker://ghcr.io/owner/app' });
    assert.deepEqual([answer.structured.status, answer.structured.registry], ['authenticated', 'ghcr.io']);
    assert.equal(accounts.stored.get('ghcr.io')?.secret, 'right');
    const [page = '', policy = '', refused = '', done = ''] = seen;
    assert.match(page, /Sign in to ghcr\.io/u);
    assert.match(page, /read:packages/u);
    assert.doesNotMatch(page, /<script/u);
    assert.match(policy, /default-src 'none'/u);
    assert.match(refused, /ghcr\.io refused access \(HTTP 401\)/u);
    assert.match(done, /Signed in to ghcr\.io/u);
    const again = await mcp.call('registry_auth', { registry_url: 'ghcr.io' });
    assert.deepEqual([again.structured.status, again.structured.username], ['authenticated', 'ann']);
    assert.doesNotMatch(JSON.stringify([answer, again]), /right/u);
  });

  test(`${era}: a user who declines is not asked again by the tool`, async () => {
    await using mcp = await connectMcp(new ScriptedContree(), era, {
      ...ELICITATION,
      accounts: new ScriptedAccounts(),
      prepare: (client) => onElicitation(client, () => Promise.resolve('decline')),
    });
    const { structured } = await mcp.call('registry_auth', { registry_url: 'ghcr.io' });
    assert.equal(structured.status, 'declined');
    assert.match(structured.hint, /ask the user before/u);
  });

  test(`${era}: a client that dismisses the question by itself gets words for the user`, async () => {
    await using mcp = await connectMcp(new ScriptedContree(), era, {
      ...ELICITATION,
      accounts: new ScriptedAccounts(),
      prepare: (client) => onElicitation(client, () => Promise.resolve('cancel')),
    });
    const { text } = await mcp.call('registry_auth', { registry_url: 'ghcr.io' });
    assert.match(text, /^SIGN_IN_NEEDED: .*\n.*contree auth registry ghcr\.io/u);
  });

  test(`${era}: a page that was opened but not filled in is pending`, async () => {
    await using mcp = await connectMcp(new ScriptedContree(), era, {
      ...ELICITATION,
      accounts: new ScriptedAccounts(),
      inlineWaitMs: 50,
      prepare: (client) => onElicitation(client, () => Promise.resolve('accept')),
    });
    const { structured } = await mcp.call('registry_auth', { registry_url: 'ghcr.io' });
    assert.equal(structured.status, 'pending');
  });

  test(`${era}: a client that cannot ask gets words for the user, and the page`, async () => {
    await using mcp = await connectMcp(new ScriptedContree(), era, { accounts: new ScriptedAccounts() });
    const answer = await mcp.call('registry_auth', { registry_url: 'registry.example.org/team/app' });
    assert.equal(answer.isError, true);
    const [first = '', second = ''] = answer.text.split('\n');
    assert.equal(first, 'SIGN_IN_NEEDED: credentials for registry.example.org are needed');
    assert.match(second, /contree auth registry registry\.example\.org/u);
    assert.match(second, /Do not ask them to paste a token here/u);
    const url = /http:\/\/127\.0\.0\.1:\d+\/auth\/[0-9a-f]{32}/u.exec(second)?.[0];
    assert.ok(url);
    assert.equal((await fillIn(url, { username: 'u', secret: 'right' })).status, 200);
    const again = await mcp.call('registry_auth', { registry_url: 'registry.example.org' });
    assert.equal(again.structured.status, 'authenticated');
  });
}

test('without accounts on this machine only the command is told', async () => {
  await using mcp = await connectMcp(new ScriptedContree(), 'modern', ELICITATION);
  const { text } = await mcp.call('registry_auth', { registry_url: 'ghcr.io' });
  assert.match(text, /^SIGN_IN_NEEDED/u);
  assert.doesNotMatch(text, /127\.0\.0\.1/u);
});

test('the page answers nobody else: foreign host, foreign origin, wrong address, too many attempts, used twice', async () => {
  const accounts = new ScriptedAccounts();
  await using mcp = await connectMcp(new ScriptedContree(), 'modern', { accounts });
  const open = async (): Promise<string> => {
    const { text } = await mcp.call('registry_auth', { registry_url: 'ghcr.io', force: true });
    return /http:\/\/127\.0\.0\.1:\d+\/auth\/[0-9a-f]{32}/u.exec(text)?.[0] ?? '';
  };
  const url = await open();
  const fields = { username: 'ann', secret: 'right' };
  assert.equal((await fillIn(url, fields, { origin: 'http://evil.example' })).status, 403);
  assert.equal((await fillIn(url, fields, { origin: 'null' })).status, 403);
  assert.equal((await fetch(url.replace(/.{4}$/u, '0000'))).status, 404);
  assert.equal((await fetch(url.replace('127.0.0.1', 'localhost'))).status, 404);
  assert.equal((await fillIn(url, { username: 'x'.repeat(300 * 1024), secret: 'y' })).status, 400);
  assert.equal(accounts.stored.size, 0);
  const worn = await open();
  for (let attempt = 0; attempt < 6; attempt++) await fillIn(worn, { username: 'a', secret: 'wrong' });
  assert.equal((await fillIn(worn, fields)).status, 404);
  const once = await open();
  assert.equal((await fillIn(once, fields)).status, 200);
  assert.equal((await fillIn(once, fields)).status, 404);
});

test('a secret as an argument is refused unless the user allows it', async () => {
  const accounts = new ScriptedAccounts();
  const given = { registry_url: 'ghcr.io', username: 'ann', token: 'right' };
  await using strict = await connectMcp(new ScriptedContree(), 'modern', { accounts });
  assert.match((await strict.call('registry_auth', given)).text, /^SIGN_IN_NEEDED/u);
  assert.equal(accounts.stored.size, 0);
  await using lax = await connectMcp(new ScriptedContree(), 'modern', { accounts, allowTokenArgument: true });
  assert.equal((await lax.call('registry_auth', given)).structured.status, 'authenticated');
});

test('registry_token_obtain names the page and the least scope', async () => {
  await using mcp = await connectMcp(() => Promise.reject(new Error('no engine')), 'modern');
  const { structured } = await mcp.call('registry_token_obtain', { registry_url: 'docker://ghcr.io/x/y' });
  assert.equal(structured.registry, 'ghcr.io');
  assert.match(structured.url, /^https:\/\/github\.com\//u);
  assert.equal((await mcp.call('registry_token_obtain', { registry_url: 'r.example.org' })).structured.url, undefined);
});
