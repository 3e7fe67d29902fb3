import { getMcpConfigForManifest, unpackExtension } from '@anthropic-ai/mcpb';
import { McpbManifestSchema } from '@anthropic-ai/mcpb/schemas/0.3';
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { globSync, readFileSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { after, before, test } from 'node:test';
import { Client } from '@modelcontextprotocol/client';
import { StdioClientTransport, type StdioServerParameters } from '@modelcontextprotocol/client/stdio';
import { execute, ROOT } from '../support/home.ts';
import { publish, type Published } from '../support/published.ts';
import { FakeRegistry } from '../support/servers/registry.ts';
import { addBusybox } from '../support/small-image.ts';

const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };

let published: Published;
let registry: FakeRegistry;

before(async () => {
  published = await publish();
  registry = await FakeRegistry.start();
  await addBusybox(registry, '1');
});

after(async () => {
  await registry[Symbol.asyncDispose]();
  await published[Symbol.asyncDispose]();
});

test('the package holds what users need and nothing else', async () => {
  const { files } = published;
  const wanted = [
    'bin/contree',
    'bin/contree-mcp',
    'dist/app/main.js',
    'dist/LICENSES.txt',
    'README.md',
    'LICENSE',
    'SECURITY.md',
    'package.json',
  ];
  const guest = ['guest/dist/vmlinux', 'guest/dist/initramfs.cpio', 'guest/dist/manifest.json'];
  const whole = globSync(['docs/*.md', 'console/**/*.*'], { cwd: ROOT, exclude: ['console/tsconfig.json'] });
  for (const path of [...wanted, ...guest, ...whole]) assert.ok(files.includes(path), path);
  const allowed = /^(?:bin|console|dist|docs|guest\/dist)\/|^(?:README\.md|LICENSE|SECURITY\.md|package\.json)$/u;
  assert.deepEqual(
    files.filter((path) => !allowed.test(path)),
    [],
  );
  assert.deepEqual(
    files.filter((path) => /(?<!\.d)\.ts$|\.map$|\.test\.|decisions/u.test(path)),
    [],
  );
  // npx fetches this one package, and zod for those who compile against the types.
  const installed = await readdir(join(published.folder, 'node_modules'));
  assert.deepEqual(
    installed.filter((name) => !name.startsWith('.')),
    ['contree-mcp', 'zod'],
  );
  const types = files.filter((path) => path.endsWith('.d.ts'));
  const stray = types.filter((path) => !/^dist\/(?:client\/sdk|contract\/.*)\.d\.ts$/u.test(path));
  assert.deepEqual([types.includes('dist/client/sdk.d.ts'), stray], [true, []], 'types of the SDK, and no others');
  for (const path of files.filter((name) => name.startsWith('dist/'))) {
    const text = await published.text(path);
    assert.doesNotMatch(text, /sourceMappingURL/u, path);
    assert.ok(!text.includes(ROOT), `${path} names the folder it was built in`);
    assert.doesNotMatch(text, /^\s*(?:await )?using /mu, `${path} is for Node 24 only`);
  }
});

for (const [kind, sandbox] of [
  ['oldest', 'microvm'],
  ['current', 'auto'],
] as const) {
  test(`npx with the ${kind} Node: version, doctor, and a run (${sandbox})`, { timeout: 300_000 }, async () => {
    const node = published.nodes[kind];
    const run = async (...args: readonly string[]): Promise<string> => {
      const { code, stdout, stderr } = await published.npx(node, args);
      assert.equal(code, 0, `${args.join(' ')}: ${stdout}${stderr}`);
      assert.doesNotMatch(stderr, /Warning/u);
      return stdout;
    };
    assert.equal(
      (await execute(node, ['--version'])).stdout.slice(0, 3),
      kind === 'oldest' ? 'v22' : process.version.slice(0, 3),
    );
    try {
      assert.equal(await run('contree', '--version'), `${version}\n`);
      const doctor = await run('contree', 'doctor');
      assert.match(doctor, /guest: Linux/u);
      const [, best = ''] = /sandbox: (\w+)/u.exec(doctor) ?? [];
      if (published.files.includes('guest/dist/runsc')) assert.match(doctor, /gVisor: runsc /u);
      await run('contree', 'import', `docker://${registry.host}/team/app:1`, '--tag', kind);
      const command = 'echo "$(uname -r) as $(id -u)" | tee /root/told';
      const options = ['--sandbox', sandbox, '--keep', '--tag', 'told'];
      const told = await run('contree', 'run', ...options, kind, '--', 'sh', '-c', command);
      const [newest] = JSON.parse(await run('contree', '--json', 'ops', '--kind', 'instance')) as { uuid: string }[];
      const shown = await run('contree', '--json', 'show', newest?.uuid ?? '');
      const { execution } = JSON.parse(shown) as { execution: { sandbox: string } };
      assert.equal(execution.sandbox, sandbox === 'auto' ? best : sandbox);
      const { kernel } = JSON.parse(await published.text('guest/dist/manifest.json')) as { kernel: string };
      if (execution.sandbox === 'microvm') assert.equal(told, `${kernel} as 0\n`);
      assert.match(told, /^\S+ as 0\n$/u);
      assert.equal(await run('contree', 'cat', 'told', '/root/told'), told);
      // In a thread of the engine, whose program is a file of its own in the package.
      assert.equal(await run('contree', 'grep', 'as 0$', 'told', '/root'), `/root/told:1:${told}`);
      assert.match(await run('contree', 'diff', kind, 'told'), /\/root\/told/u);
      assert.match(await run('contree', 'images', '--prefix', 'told'), /told/u);
      assert.match(await run('contree', 'rsync', 'node_modules/contree-mcp/docs', '/docs'), /^[\da-f-]{36}\n$/u);
    } finally {
      await published.npx(node, ['contree', 'engine', 'stop']);
    }
  });

  test(`npx with the ${kind} Node: an agent is served over its streams`, async () => {
    const environment = defined(published.environment(published.nodes[kind]));
    await assertServes({
      command: 'npx',
      args: ['--no', '--', 'contree-mcp'],
      cwd: published.folder,
      env: environment,
    });
  });
}

/** Starts the server as a client does and lists its tools; standard error stays empty. */
async function assertServes(server: StdioServerParameters): Promise<void> {
  const client = new Client({ name: 'test', version: '0' });
  const transport = new StdioClientTransport({ ...server, stderr: 'pipe' });
  let told = '';
  transport.stderr?.on('data', (chunk) => (told += String(chunk)));
  await client.connect(transport);
  try {
    assert.equal(client.getServerVersion()?.version, version);
    const offered = (await client.listTools()).tools.map(({ name }) => name);
    // "/" is not a working directory: a client that starts its servers there gets no tools for local files.
    const wanted = server.cwd === '/' ? ['run'] : ['run', 'rsync', 'download'];
    assert.deepEqual(
      ['run', 'rsync', 'download'].filter((name) => offered.includes(name)),
      wanted,
    );
  } finally {
    // Otherwise the server keeps the tests from ending.
    await client.close();
  }
  assert.equal(told, '');
}

/** The documented programs, compiled against the installed package as users would. */
async function compiledExamples(): Promise<string> {
  const folder = join(published.folder, 'programs');
  await mkdir(folder, { recursive: true });
  for (const name of globSync('*.ts', { cwd: join(ROOT, 'docs/examples') })) {
    await copyFile(join(ROOT, 'docs/examples', name), join(folder, name));
  }
  await writeFile(join(folder, 'package.json'), JSON.stringify({ type: 'module' }));
  const compilerOptions = {
    // Lowers `await using` for Node 22.
    target: 'es2024',
    lib: ['es2024', 'esnext.disposable'],
    module: 'nodenext',
    strict: true,
    noUncheckedIndexedAccess: true,
    skipLibCheck: false,
    types: ['node'],
    typeRoots: [join(ROOT, 'node_modules/@types')],
  };
  await writeFile(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['*.ts'] }));
  const { code, stdout } = await execute(join(ROOT, 'node_modules/.bin/tsc'), ['-p', folder]);
  assert.equal(code, 0, stdout);
  return folder;
}

test('the SDK: programs compile against its types and run, over the socket and over the network', async () => {
  const folder = await compiledExamples();
  const node = published.nodes.oldest;
  // A separate home, and so a separate store: the programs list its images, and other tests leave images behind.
  const env = { ...published.environment(node), HOME: join(folder, 'home') };
  await mkdir(env.HOME);
  const run = async (name: string, args: readonly string[] = [], more = {}): Promise<string> => {
    const { code, stdout, stderr } = await execute(node, [join(folder, `${name}.js`), ...args], {
      cwd: folder,
      env: { ...env, ...more },
    });
    assert.equal(code, 0, `${name}: ${stdout}${stderr}`);
    assert.equal(stderr, '', name);
    return stdout;
  };
  const program = join(published.folder, 'node_modules/.bin/contree-mcp');
  try {
    const first = await run('quick-start', [`docker://${registry.host}/team/app:1`]);
    assert.match(first, /exit_code: 0,\s+stdout: 'as 0\\n',\s+image: '[\da-f-]{36}'/u);
    assert.equal(await run('interactive'), 'hello\nexit code 0\n');
    assert.match(await run('branches'), /added \/root\/choice.* one\n.*added \/root\/choice.* two\n/u);
    const token = 'a-token-of-this-test';
    const server = spawn(program, ['--mode', 'http', '--http-port', '0', '--token', token], {
      env,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    try {
      const { origin } = new URL(await consoleOf(server.stderr));
      const remote = { SANDBOXES_URL: origin, SANDBOXES_TOKEN: token };
      assert.match(await run('remote', [], remote), /^[\da-f-]{36} base\nno image tag:no-such-tag\n./u);
    } finally {
      server.kill('SIGTERM');
      await once(server, 'exit');
    }
  } finally {
    await published.npx(node, ['contree', 'engine', 'stop'], { env });
  }
});

/** Returns the address that a server announces on standard error. */
async function consoleOf(output: Readable): Promise<string> {
  for await (const line of createInterface({ input: output })) {
    const [, address] = /console at (\S+)$/u.exec(line) ?? [];
    if (address !== undefined) return address;
  }
  return assert.fail('the server announced no address');
}

test('the console is served, with all that its page asks for', async () => {
  const env = defined(published.environment(published.nodes.oldest));
  // Not by npx, which does not forward every signal.
  const program = join(published.folder, 'node_modules/.bin/contree-mcp');
  const child = spawn(program, ['--mode', 'http', '--http-port', '0'], { env, stdio: ['ignore', 'ignore', 'pipe'] });
  try {
    const address = await consoleOf(child.stderr);
    const page = await (await fetch(address)).text();
    const parts = [...page.matchAll(/(?:src|href)="([^"#:]+)"/gu)].map(([, path = '']) => path);
    assert.ok(parts.includes('app/main.js'), page);
    for (const path of parts) assert.equal((await fetch(new URL(path, address))).status, 200, path);
    assert.equal((await fetch(new URL('app/views/images/image-tree.js', address))).status, 200);
  } finally {
    child.kill('SIGTERM');
    await once(child, 'exit');
    await published.npx(published.nodes.oldest, ['contree', 'engine', 'stop']);
  }
});

test('a Node that is too old gets one line and exit code 1', async () => {
  const node = published.nodes['too-old'];
  for (const program of ['contree', 'contree-mcp']) {
    const path = join(published.folder, 'node_modules/.bin', program);
    const { code, stdout, stderr } = await execute(node, [path, '--version'], { env: published.environment(node) });
    assert.deepEqual([code, stdout], [1, '']);
    assert.match(stderr, new RegExp(`^${program} needs Node 22.21 or newer, this is v18[^\\n]*npx[^\\n]*\\n$`, 'u'));
  }
});

test('the bundle unpacks to a server that a desktop client can start', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'contree-bundle-'));
  try {
    const [mcpbPath, outputDir] = [join(folder, 'contree.mcpb'), join(folder, 'unpacked')];
    const bundle = [join(ROOT, 'scripts/bundle.ts'), '--tarball', published.tarball, '--output', mcpbPath];
    const { code, stderr } = await execute(process.execPath, bundle);
    assert.equal(code, 0, stderr);
    assert.ok(await unpackExtension({ mcpbPath, outputDir, silent: true }));
    const manifest = McpbManifestSchema.parse(JSON.parse(await readFile(join(outputDir, 'manifest.json'), 'utf8')));
    assert.equal(manifest.version, version);
    const entries = await readdir(outputDir, { recursive: true });
    assert.ok(entries.includes(manifest.server.entry_point) && entries.includes('guest/dist/vmlinux'));
    assert.deepEqual(
      entries.filter((path) => /\.map$|node_modules\/(?:typescript|oxlint|knip)\b/u.test(path)),
      [],
    );

    // The manifest after the client's substitutions, when its user fills in nothing.
    const config = await getMcpConfigForManifest({
      manifest,
      extensionPath: outputDir,
      systemDirs: {},
      userConfig: {},
      pathSeparator: '/',
    });
    assert.ok(config !== undefined);
    const { command, args, env } = config;
    assert.equal(command, 'node');
    await assertServes({ command: published.nodes.oldest, args: args ?? [], cwd: '/', env: env ?? {} });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

function defined(environment: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const pairs = Object.entries({ ...process.env, ...environment });
  return Object.fromEntries(pairs.filter((pair): pair is [string, string] => pair[1] !== undefined));
}
