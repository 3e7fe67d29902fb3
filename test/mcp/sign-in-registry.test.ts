import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Client, StreamableHTTPClientTransport, type Transport } from '@modelcontextprotocol/client';
import { toNodeHandler } from '@modelcontextprotocol/node';
import { InMemoryTransport } from '@modelcontextprotocol/server';
import { serveStdio } from '@modelcontextprotocol/server/stdio';
import { readSettings } from '../../src/config/index.ts';
import { imageImporter } from '../../src/images/import/importer.ts';
import { McpContext } from '../../src/mcp/context.ts';
import { createMcpHttp } from '../../src/mcp/http.ts';
import type { McpOptions } from '../../src/mcp/context.ts';
import { buildServer } from '../../src/mcp/server.ts';
import { registryAccounts } from '../../src/app/registry-accounts.ts';
import { clientOfSocket } from '../support/client.ts';
import { answerOf, ERAS, type Era, type ToolAnswer } from '../support/mcp/client.ts';
import { FakeRegistry, wantsToken } from '../support/servers/registry.ts';
import { serveBench } from '../support/servers/served-engine.ts';
import { layerOfMembers } from '../support/small-image.ts';

/*
 * A private image, from the first refusal to the import: a registry with a token service, the user's browser (played by
 * this test), the client, the server and the engine are real or behave like real ones.
 */

const SECRET = 'canary-0d1e2f';
const WRONG = 'canary-wrong';

/** A registry whose image only Ann may pull. */
async function privateRegistry(): Promise<FakeRegistry> {
  const registry = await FakeRegistry.start();
  registry.addImage([layerOfMembers([{ path: 'hello', content: 'hello' }])], { tag: '1' });
  const ann = `Basic ${Buffer.from(`ann:${SECRET}`).toString('base64')}`;
  registry.on(/ \/token/u, (request, response) => {
    const known = request.headers.authorization === ann;
    response.writeHead(known ? 200 : 401).end(known ? JSON.stringify({ token: 'T' }) : '');
  });
  registry.on(/ \/v2\//u, wantsToken(registry, 'T'));
  return registry;
}

interface Place extends AsyncDisposable {
  readonly home: string;
  readonly registry: FakeRegistry;
  /** Everything that others than the user and the registry could read: protocol messages, logs. */
  readonly heard: string[];
  /** Connects a client that opens pages with `browse`; without it the client cannot ask its user. */
  connect(
    transport: 'stdio' | 'http',
    era: Era,
    browse?: (url: string) => Promise<void>,
  ): Promise<(name: string, args: object) => Promise<ToolAnswer>>;
  /** Returns everything that the engine stores on disk. */
  kept(): Promise<string>;
}

async function openPlace(): Promise<Place> {
  await using stack = new AsyncDisposableStack();
  const home = mkdtempSync(join(tmpdir(), 'contree-sign-in-'));
  stack.defer(() => rmSync(home, { recursive: true, force: true }));
  const registry = stack.use(await privateRegistry());
  const heard: string[] = [];
  const env = { HOME: home };
  const storePath = join(home, '.config/contree/registries.json');
  const importer = imageImporter({ registries: {}, credentials: { storePath, environment: env } });
  const log = new Proxy({} as never, {
    get:
      () =>
      (...parts: unknown[]) =>
        heard.push(JSON.stringify(parts)),
  });
  const engine = stack.use(await serveBench({ importer, log }));
  const options: McpOptions = {
    version: '0',
    log: (line) => heard.push(line),
    accounts: registryAccounts(readSettings({ program: 'contree-mcp', flags: {}, env }), env),
  };
  const open = { stdio: overStreams, http: overHttp };
  const owned = stack.move();
  return {
    home,
    registry,
    heard,
    connect: async (transport, era, browse) => {
      const wire = await open[transport](engine.socket, options);
      owned.defer(wire.close);
      const client = new Client(
        { name: 'test', version: '0' },
        {
          capabilities: browse ? { elicitation: { url: {} } } : {},
          versionNegotiation: { mode: era === 'modern' ? 'auto' : 'legacy' },
        },
      );
      if (browse) {
        client.setRequestHandler('elicitation/create', async ({ params }) => {
          await browse('url' in params ? params.url : '');
          return { action: 'accept' };
        });
      }
      await client.connect(overheard(wire.transport, heard));
      owned.defer(() => client.close());
      return async (name, args) => answerOf(await client.callTool({ name, arguments: { ...args } }));
    },
    kept: async () => {
      const names = await readdir(engine.bench.directory, { recursive: true });
      const files = await Promise.all(
        names.map((name) => readFile(join(engine.bench.directory, name), 'latin1').catch(() => '')),
      );
      return files.join('\n');
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** Records every message in both directions. */
function overheard(transport: Transport, heard: string[]): Transport {
  const { send } = transport;
  transport.send = async (message, options) => {
    heard.push(JSON.stringify(message));
    await send.call(transport, message, options);
  };
  const { start } = transport;
  transport.start = async () => {
    const { onmessage } = transport;
    // The transport of the SDK is not an EventTarget.
    // oxlint-disable-next-line unicorn/prefer-add-event-listener
    transport.onmessage = (message, extra) => {
      heard.push(JSON.stringify(message));
      onmessage?.(message, extra);
    };
    await start.call(transport);
  };
  return transport;
}

interface Wire {
  readonly transport: Transport;
  readonly close: () => Promise<void>;
}

async function overStreams(socket: string, options: McpOptions): Promise<Wire> {
  const context = new McpContext(() => Promise.resolve(clientOfSocket(socket)), options);
  const [ours, theirs] = InMemoryTransport.createLinkedPair();
  const handle = serveStdio((request) => buildServer(context, request, 'stdio'), { transport: theirs });
  return {
    transport: ours,
    close: async () => {
      await handle.close();
      await context[Symbol.asyncDispose]();
    },
  };
}

async function overHttp(socket: string, options: McpOptions): Promise<Wire> {
  const contree = clientOfSocket(socket);
  const mcp = createMcpHttp(() => Promise.resolve(contree), options);
  const handler = toNodeHandler(mcp);
  const server = createServer((request, response) => void handler(request as never, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`);
  return {
    transport: new StreamableHTTPClientTransport(url),
    close: async () => {
      await mcp[Symbol.asyncDispose]();
      await contree[Symbol.asyncDispose]();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Plays the user on the page: first a typing error, then the right token. Returns the page's messages. */
async function fillIn(url: string): Promise<string[]> {
  const { origin } = new URL(url);
  const said: string[] = [];
  for (const secret of [WRONG, SECRET]) {
    const body = new URLSearchParams({ username: 'ann', secret });
    said.push(await (await fetch(url, { method: 'POST', headers: { origin }, body })).text());
  }
  return said;
}

for (const [transport, era] of [...ERAS.map((era) => ['stdio', era] as const), ['http', 'modern'] as const]) {
  test(`${transport}, ${era}: a refused import, the page, and the import again; nobody but the registry hears the secret`, async () => {
    await using place = await openPlace();
    const { registry, home, heard } = place;
    const pages: string[] = [];
    const call = await place.connect(transport, era, async (url) => void pages.push(...(await fillIn(url))));
    const image = { registry_url: `docker://${registry.host}/team/app:1`, tag: 'private/app' };
    const refused = await call('import_image', image);
    assert.equal(refused.isError, true);
    assert.match(refused.text, /^REGISTRY_DENIED/u);
    assert.ok(refused.text.includes(`registry_auth(registry_url="${registry.host}")`), refused.text);
    const signed = await call('registry_auth', { registry_url: registry.host });
    assert.deepEqual(
      [signed.structured?.status, signed.structured?.registry],
      ['authenticated', registry.host],
      signed.text,
    );
    assert.match(pages[0] ?? '', /class="problem"/u, 'the wrong one was tried at the registry');
    assert.match(pages[1] ?? '', /Signed in/u);
    const imported = await call('import_image', image);
    assert.equal(imported.structured?.status, 'SUCCESS', imported.text);
    assert.equal((await call('registry_auth', { registry_url: registry.host })).structured?.username, 'ann');
    const store = join(home, '.config/contree/registries.json');
    assert.equal(statSync(store).mode & 0o777, 0o600);
    assert.ok(readFileSync(store, 'utf8').includes(SECRET), 'the canary is where it belongs');
    const told = [...heard, await place.kept(), ...pages].join('\n');
    const encoded = Buffer.from(`ann:${SECRET}`).toString('base64');
    for (const canary of [SECRET, WRONG, encoded]) assert.ok(!told.includes(canary), `${canary} was told`);
    assert.ok(told.includes(registry.host), 'what was told was looked at');
  });
}

for (const [transport, era] of [
  ['http', 'legacy'],
  ['stdio', 'legacy'],
  ['stdio', 'modern'],
] as const) {
  test(`${transport}, ${era}: a client that cannot open pages is given the page and the command for its user`, async () => {
    await using place = await openPlace();
    const { registry } = place;
    const call = await place.connect(transport, era);
    const { isError, text } = await call('registry_auth', { registry_url: registry.host });
    assert.equal(isError, true);
    assert.ok(text.includes(`contree auth registry ${registry.host}`), text);
    const [url = ''] = /http:\/\/127\.0\.0\.1:\d+\/auth\/[0-9a-f]{32}/u.exec(text) ?? [];
    await fillIn(url);
    const image = { registry_url: `docker://${registry.host}/team/app:1` };
    assert.equal((await call('import_image', image)).structured?.status, 'SUCCESS');
    assert.ok(!place.heard.join('\n').includes(SECRET));
  });
}
