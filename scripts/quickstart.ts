import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { Client } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import { command } from './support/command.ts';
import { debianImage } from './support/debian-image.ts';
import { startRegistry } from './support/registry.ts';

/**
 * The main use case as an agent would do it: through the real stdio MCP server, with a real MCP client. Every call is
 * printed with its duration. The image comes from Docker Hub if that is reachable; otherwise a Debian image is built
 * from the distribution's packages, pushed to a registry on 127.0.0.1 and imported from there.
 */
const { values } = parseArgs({
  options: {
    'data-dir': { type: 'string' },
    local: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
});
if (values.help) {
  console.log(
    'npm run quickstart [-- --local] [-- --data-dir DIR]\n  --local      build the image here even if Docker Hub answers',
  );
  process.exit(0);
}

const root = resolve(import.meta.dirname, '..');
const dataDirArgs = values['data-dir'] === undefined ? [] : ['--data-dir', values['data-dir']];

/** A buggy program and its test, which the two branches below try to fix. */
const PROJECT = String.raw`mkdir -p /root/project && cd /root/project
cat > prices.py <<'PY'
def total(prices, discount=0):
    """Sum of the prices less a discount in percent, never below zero."""
    return sum(prices) - discount
PY
cat > test_prices.py <<'PY'
from prices import total
def test_plain(): assert total([10, 20]) == 30
def test_discount(): assert total([100, 100], discount=10) == 180
PY`;
const FIX_A = `cd /root/project && sed -i 's/- discount/* discount/' prices.py && python3 -m pytest -q`;
const FIX_B = `cd /root/project && sed -i 's|- discount|* (1 - discount / 100)|' prices.py && python3 -m pytest -q`;

type Result = Readonly<Record<string, unknown>>;

class Story implements AsyncDisposable {
  readonly #client: Client;
  readonly #startedMs = performance.now();

  private constructor(client: Client) {
    this.#client = client;
  }

  static async open(): Promise<Story> {
    const client = new Client({ name: 'contree-quickstart', version: '1.0.0' });
    const args = [resolve(root, 'bin/contree-mcp'), ...dataDirArgs];
    // The whole environment: by default the transport leaves out, for example, where the user keeps data.
    const env = { ...process.env } as Record<string, string>;
    await client.connect(new StdioClientTransport({ command: process.execPath, args, env, stderr: 'inherit' }));
    return new Story(client);
  }

  /** Calls a tool, prints the call, its time and the text the model would see. */
  async call(name: string, args: Record<string, unknown>): Promise<Result> {
    const shown = Object.entries(args).map(([key, value]) => `${key}=${JSON.stringify(value)}`);
    console.log(`\n▸ ${name}(${shown.join(', ')})`);
    const startedMs = performance.now();
    const answer = await this.#client.callTool(
      { name, arguments: args },
      {
        timeout: 900_000,
        resetTimeoutOnProgress: true,
        onprogress: ({ message }) => console.log(`    … ${message ?? ''}`),
      },
    );
    const seconds = (performance.now() - startedMs) / 1000;
    const text = (answer.content ?? []).map((block) => (block.type === 'text' ? block.text : '')).join('\n');
    console.log(text.trimEnd().replaceAll(/^/gmu, '    '));
    console.log(`    (${seconds.toFixed(2)} s)`);
    if (answer.isError === true) throw new Error(`${name} failed`);
    return (answer.structuredContent ?? {}) as Result;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client.close();
    console.log(`\nWhole story: ${((performance.now() - this.#startedMs) / 1000).toFixed(1)} s`);
  }
}

/** Reports whether Docker Hub is reachable; a registry answers its version check with 200 or 401. */
async function hubAnswers(): Promise<boolean> {
  const answer = await fetch('https://registry-1.docker.io/v2/', { signal: AbortSignal.timeout(5_000) }).catch(
    () => undefined,
  );
  return answer?.status === 401 || answer?.status === 200;
}

interface Base {
  readonly reference: string;
  readonly install: string;
}

async function tell(base: Base): Promise<void> {
  await using story = await Story.open();
  await story.call('list_images', { tag_prefix: 'common/' });
  const imported = await story.call('import_image', { registry_url: base.reference });
  const prepared = await story.call('run', {
    command: `${base.install} && ${PROJECT}`,
    image: imported['image_uuid'],
    disposable: false,
    timeout: 600,
  });
  if (prepared['exit_code'] !== 0) throw new Error('the install run failed; see its output above');
  console.log(`\n${await sandboxLine()}`);
  const tag = 'common/python-pytest/quickstart';
  await story.call('set_tag', { image_uuid: prepared['image_uuid'], tag });

  console.log('\nTwo competing fixes, each on its own branch of the same image:');
  const branches: Result[] = [];
  for (const fix of [FIX_A, FIX_B]) {
    branches.push(
      await story.call('run', { command: fix, image: `tag:${tag}`, disposable: false, wait: false, timeout: 120 }),
    );
  }
  const ids = branches.map((branch) => String(branch['operation_id']));
  const waited = await story.call('wait_operations', { operation_ids: ids, timeout: 600 });
  const results = waited['results'] as Record<string, Result>;
  const winner = ids.find((id) => results[id]?.['exit_code'] === 0);
  if (winner === undefined) throw new Error('no branch passed its tests');

  console.log(`\nThe winner is branch ${ids.indexOf(winner) + 1}; its file, read without starting a VM:`);
  const image = String(results[winner]?.['image_uuid']);
  await story.call('read_file', { image, path: '/root/project/prices.py' });
  console.log('\nThe tree (contree tree):');
  console.log(await command(process.execPath, [resolve(root, 'bin/contree'), ...dataDirArgs, 'tree', image]));
}

interface Check {
  readonly name: string;
  readonly detail: string;
  readonly remedy?: string;
}

/** Returns a line about the sandbox of runs on this machine, why they get it, and what would make them faster. */
async function sandboxLine(): Promise<string> {
  const printed = await command(process.execPath, [resolve(root, 'bin/contree'), ...dataDirArgs, '--json', 'doctor']);
  const { checks } = JSON.parse(printed) as { readonly checks: readonly Check[] };
  const { detail = 'unknown', remedy } = checks.find(({ name }) => name === 'sandbox') ?? {};
  return [`Sandbox of these runs: ${detail}`, ...(remedy === undefined ? [] : [remedy])].join('; ');
}

function registrationLines(): string {
  const server = resolve(root, 'bin/contree-mcp');
  const desktop = { mcpServers: { contree: { command: server, args: [] } } };
  return [
    'Add it to your agent:',
    `  any of them     ${resolve(root, 'bin/contree')} install AGENT`,
    `  Claude Code     claude mcp add --transport stdio contree -- ${server}`,
    `  Codex           codex mcp add contree -- ${server}`,
    `  Claude Desktop  ${JSON.stringify(desktop)}`,
  ].join('\n');
}

if (!values.local && (await hubAnswers())) {
  await tell({ reference: 'docker://python:3.11-slim', install: 'pip install -q pytest' });
} else {
  console.log(
    values.local
      ? 'Building a Debian image here.'
      : 'Docker Hub does not answer from here: building a Debian image instead.',
  );
  process.stdout.write(await command(resolve(root, 'scripts/setup'), ['--image', '--quick']));
  const image = await debianImage();
  await using registry = await startRegistry();
  const reference = await registry.push(image.layout, 'debian', 'library/python:3.11-slim');
  await tell({ reference, install: 'apt-get install -y -qq --no-install-recommends python3-pytest > /dev/null' });
}
console.log(registrationLines());
