import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { command } from '../../scripts/support/command.ts';
import { execute, ROOT, type CliResult } from '../support/home.ts';
import { FakeRegistry } from '../support/servers/registry.ts';
import { addBusybox } from '../support/small-image.ts';
import { FakeModel } from './agents/model.ts';

/*
 * The hook of coding agents in the agents themselves, as they are published: each is run without a terminal, with a model of
 * ours that asks for shell commands.
 */

/** Versions of the agents, fetched from npm. */
const PACKAGES = ['@anthropic-ai/claude-code@2.1.332', '@openai/codex@0.171.0'] as const;
const INSTALL_MS_MAX = 600_000;
const AGENT_MS_MAX = 600_000;

interface Agent {
  readonly name: string;
  /** Runs it once with a prompt. */
  readonly run: (project: string, prompt: string) => Promise<CliResult>;
}

let folder: string;
let home: string;
let model: FakeModel;
let env: Readonly<Record<string, string>>;

/** Runs a program as a user whose environment has nothing of ours. */
async function asUser(program: string, args: readonly string[], cwd = home): Promise<CliResult> {
  const nothing = Object.fromEntries(Object.keys(process.env).map((name) => [name, undefined]));
  return await execute(program, args, { cwd, env: { ...nothing, ...env }, timeoutMs: AGENT_MS_MAX });
}

async function contree(args: readonly string[], cwd?: string): Promise<string> {
  const { code, stdout, stderr } = await asUser(process.execPath, [join(ROOT, 'bin/contree'), ...args], cwd);
  assert.equal(code, 0, `contree ${args.join(' ')}: ${stderr}`);
  return stdout;
}

before(async () => {
  folder = realpathSync(await mkdtemp(join(tmpdir(), 'contree-agents-')));
  home = join(folder, 'home');
  mkdirSync(home);
  // Codex takes no home in the folder for temporary files.
  mkdirSync(join(folder, 'tmp'));
  model = await FakeModel.start();
  env = {
    HOME: home,
    TMPDIR: join(folder, 'tmp'),
    PATH: '/usr/bin:/bin',
    ANTHROPIC_BASE_URL: model.url,
    ANTHROPIC_API_KEY: 'none',
    MODEL_KEY: 'none',
  };
  const quiet = ['--ignore-scripts', '--no-audit', '--no-fund', '--no-package-lock', '--loglevel=error'];
  await command('npm', ['install', ...quiet, '--prefix', folder, ...PACKAGES], {
    timeout: INSTALL_MS_MAX,
    cwd: folder,
  });
  await using registry = await FakeRegistry.start();
  await addBusybox(registry, '1');
  // The engine that this starts looks for no KVM, which takes long where it does not work.
  await contree(['--accelerator', 'emulated', 'import', '--tag', 'base', `docker://${registry.host}/team/app:1`]);
  // The sandbox is chosen now, and not while an agent waits for its first command.
  await contree(['run', '--disposable', 'base', '--', 'true']);
});

after(async () => {
  await contree(['engine', 'stop', '--force']);
  await model[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
});

const claudeCode: Agent = {
  name: 'claude-code',
  run: (project, prompt) =>
    // The program that the installation of the package links.
    asUser(
      join(folder, `node_modules/@anthropic-ai/claude-code-linux-${process.arch}/claude`),
      ['-p', prompt],
      project,
    ),
};

const codex: Agent = {
  name: 'codex',
  run: (project, prompt) => {
    const provider = `{ name = "fake", base_url = "${model.url}/v1", wire_api = "responses", env_key = "MODEL_KEY" }`;
    const settings = ['model="fake"', 'model_provider="fake"', `model_providers.fake=${provider}`];
    const options = settings.flatMap((setting) => ['-c', setting]);
    // A person is asked whether the hook may be trusted; here nobody can be.
    const flags = ['--skip-git-repo-check', '--dangerously-bypass-hook-trust'];
    const path = join(folder, 'node_modules/@openai/codex/bin/codex.js');
    return asUser(process.execPath, [path, 'exec', ...options, ...flags, prompt], project);
  },
};

for (const agent of [claudeCode, codex]) {
  test(`${agent.name} executes its commands in the instance of the project, and its turns are undone and applied`, async () => {
    const project = join(folder, `project-${agent.name}`);
    mkdirSync(project);
    writeFileSync(join(project, 'a.txt'), 'from the user\n');
    await contree(['install', agent.name, '--hook', 'base'], project);
    const turn = async (prompt: string, ...commands: readonly string[]): Promise<readonly string[]> => {
      model.commands = [...commands];
      const from = model.seen.length;
      const { code, stdout, stderr } = await agent.run(project, prompt);
      assert.equal(code, 0, `${stdout}\n${stderr}`);
      assert.deepEqual(model.commands, [], 'the agent has asked for all of them');
      return model.seen.slice(from + 1);
    };
    const [first = '', second = ''] = await turn(
      'make a file',
      'cat a.txt; readlink /bin/sh; echo "it\'s made" > made.txt; exit 3',
      'cat made.txt; pwd',
    );
    assert.ok(first.includes('from the user') && first.includes('busybox'), first);
    assert.match(first, /(?:code|exit) 3|exited with code 3/iu);
    assert.ok(second.includes("it's made") && second.includes(project), second);
    assert.equal(existsSync(join(project, 'made.txt')), false, 'nothing is executed on this machine');
    await turn('change it', 'echo more >> made.txt');
    const { turns } = JSON.parse(await contree(['--json', 'undo', '--list'], project)) as {
      turns: { prompt: string; commands: { line: string }[] }[];
    };
    assert.deepEqual(
      turns.map(({ prompt, commands }) => [prompt, commands.length]),
      [
        ['make a file', 1],
        ['change it', 1],
      ],
    );
    await contree(['undo'], project);
    const [undone = ''] = await turn('look', 'cat made.txt');
    assert.ok(undone.includes("it's made") && !undone.includes('more'), undone);
    await contree(['apply', '--yes'], project);
    assert.equal(readFileSync(join(project, 'made.txt'), 'utf8'), "it's made\n");
  });
}
