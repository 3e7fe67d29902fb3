import { isAbsolute } from 'node:path';
import { text } from 'node:stream/consumers';
import { fault, isFault } from '../../contract/errors.ts';
import { parsedJson } from '../../std/json.ts';
import { ownCommand, shellLine } from '../agents/own-command.ts';
import type { Cli } from '../cli.ts';
import type { Register } from '../command.ts';
import { Project, withTurn, type ProjectState } from './project.ts';
import { runAgentCommand } from './run-command.ts';

/** Part of the prompt that is remembered. */
const PROMPT_CHARACTERS_MAX = 200;
const INPUT_CHARACTERS_MAX = 16 * 1024 * 1024;

/**
 * Fields of a hook's input that are used: those of Claude Code (https://code.claude.com/docs/en/hooks) and of Codex, which has
 * the same ones and `turn_id` (codex-rs/hooks/src/events/pre_tool_use.rs).
 */
interface HookInput {
  readonly event: string;
  readonly session: string;
  readonly turn: string;
  readonly cwd: string;
  readonly prompt: string;
  readonly tool: string;
  readonly toolInput: Readonly<Record<string, unknown>>;
}

export const hook: Register = (program, runner) => {
  const command = program
    .command('hook')
    .summary('for coding agents: their commands in an instance')
    .description(
      'Programs of the hooks that "contree install AGENT --hook IMAGE" adds to an agent. They execute the shell commands of ' +
        'the agent in an instance of the project’s image, and remember which turn made which image.',
    );
  command
    .command('answer')
    .description('Answer the JSON of a hook on standard input.')
    .action(
      runner(async (cli) => {
        const answer = await safeAnswer(cli, hookInput(await text(cli.host.stdin)));
        if (answer !== undefined) await cli.write(`${JSON.stringify(answer)}\n`);
      }),
    );
  command
    .command('run')
    .description('Execute a shell command of an agent in the instance of the project.')
    .requiredOption('--cwd <DIR>', 'working directory')
    .argument('<line>', 'the shell command')
    .action(
      runner(async (cli, { cwd }: { readonly cwd: string }, [line]: [string]) =>
        runAgentCommand(cli, await Project.at(cli.host.env, cwd), { cwd, line }),
      ),
    );
};

function hookInput(given: string): HookInput {
  const value = given.length > INPUT_CHARACTERS_MAX ? undefined : parsedJson(given);
  if (typeof value !== 'object' || value === null) {
    throw fault('ARGUMENT_INVALID', { reason: 'standard input is not the JSON of a hook' });
  }
  const fields = value as Readonly<Record<string, unknown>>;
  const field = (name: string): string => (typeof fields[name] === 'string' ? fields[name] : '');
  const input = fields['tool_input'];
  return {
    event: field('hook_event_name'),
    session: field('session_id'),
    turn: field('turn_id'),
    cwd: field('cwd'),
    prompt: field('prompt'),
    tool: field('tool_name'),
    toolInput: typeof input === 'object' && input !== null ? (input as Readonly<Record<string, unknown>>) : {},
  };
}

/** Returns the answer of the hook. When it fails, the command is refused: it must not be executed on this machine instead. */
async function safeAnswer(cli: Cli, input: HookInput): Promise<unknown> {
  try {
    return await hookAnswer(cli, input);
  } catch (error) {
    if (input.event !== 'PreToolUse' || !isFault(error)) throw error;
    return decision({ permissionDecision: 'deny', permissionDecisionReason: `contree: ${error.message}` });
  }
}

function decision(fields: Readonly<Record<string, unknown>>): unknown {
  return { hookSpecificOutput: { hookEventName: 'PreToolUse', ...fields } };
}

/** Returns what the hook prints; undefined to let the agent go on as it would without it. */
async function hookAnswer(cli: Cli, input: HookInput): Promise<unknown> {
  const { event, cwd, tool, toolInput } = input;
  const project = isAbsolute(cwd) ? await Project.find(cli.host.env, cwd) : undefined;
  if (project === undefined) return undefined;
  const begins = event === 'UserPromptSubmit';
  if (begins || event === 'PreToolUse') {
    await project.change((state) => ofTurn(state, input, begins), cli.signal);
  }
  const { command } = toolInput;
  if (event !== 'PreToolUse' || tool !== 'Bash' || typeof command !== 'string') return undefined;
  const line = shellLine([...ownCommand(cli), 'hook', 'run', '--cwd', cwd, '--', command]);
  return decision({
    permissionDecision: 'allow',
    permissionDecisionReason: 'runs in an instance of ConTree, not on this machine',
    // It replaces the whole input, so what is not changed is repeated.
    updatedInput: { ...toolInput, command: line },
  });
}

/** Returns the state with the turn of this input. Agents that do not number turns begin one with each prompt. */
function ofTurn(state: ProjectState, { session, turn, prompt }: HookInput, begins: boolean): ProjectState {
  const key = `${session} ${turn}`;
  const last = state.turns[state.position - 1];
  const isNew = begins || last === undefined || last.key !== key || state.position < state.turns.length;
  return isNew ? withTurn(state, key, prompt.slice(0, PROMPT_CHARACTERS_MAX)) : state;
}
