import { join } from 'node:path';
import { fault } from '../../contract/errors.ts';
import type { UserDirectories } from './agent-config.ts';
import { FORMATS, isObject, valueAt } from './config-formats.ts';

type FileOf = (directories: UserDirectories) => string;

const inCodex =
  (...path: readonly string[]): FileOf =>
  ({ home, env }) =>
    join(env['CODEX_HOME'] || join(home, '.codex'), ...path);

/** Files in which agents look for hooks; both have the form that Claude Code documents. */
const HOOK_FILES: Readonly<Record<string, FileOf>> = {
  'claude-code': ({ home, env }) => join(env['CLAUDE_CONFIG_DIR'] || join(home, '.claude'), 'settings.json'),
  codex: inCodex('hooks.json'),
};

/**
 * Files of our own for agents that execute every command in a sandbox, in which ours does not reach the engine: a rule that
 * lets it run outside (https://developers.openai.com/codex/rules).
 */
const RULE_FILES: Readonly<Record<string, FileOf>> = { codex: inCodex('rules', 'contree.rules') };

/** Events that the hook answers, with the tools for which it is called. */
const EVENTS: Readonly<Record<string, { readonly matcher?: string }>> = {
  PreToolUse: { matcher: 'Bash' },
  UserPromptSubmit: {},
};

/** End of the command of our hooks, by which they are found again. */
const OURS = /\bhook answer$/u;

/** Returns the file with the hooks of an agent. Faults: ARGUMENT_INVALID for one without hooks. */
export function hooksFile(agent: string, directories: UserDirectories): string {
  const file = Object.hasOwn(HOOK_FILES, agent) ? HOOK_FILES[agent] : undefined;
  if (file !== undefined) return file(directories);
  const known = Object.keys(HOOK_FILES).join(', ');
  throw fault('ARGUMENT_INVALID', {
    reason: `${agent} has no hooks that could take its commands; --hook knows ${known}`,
  });
}

/** Returns the file for our rule, for an agent that needs one. */
export function ruleFile(agent: string, directories: UserDirectories): string | undefined {
  return Object.hasOwn(RULE_FILES, agent) ? RULE_FILES[agent]?.(directories) : undefined;
}

/** Returns the rule for command lines that begin with these words: they execute nothing but commands in an instance. */
export function ruleText(words: readonly string[]): string {
  return `# Written by "contree install codex --hook": the shell commands that the hook takes over.
prefix_rule(pattern = ${JSON.stringify(words)}, decision = "allow")
`;
}

/** Returns the text with our hooks, started by `command`, in place of earlier ones; without a command, with none. */
export function withHooks(text: string, command: string | undefined): string {
  const value = FORMATS.jsonc.parse(text);
  const hooks = valueAt(value, ['hooks']) ?? {};
  if (!isObject(value) || !isObject(hooks)) throw new Error('"hooks" is not an object');
  const changes = Object.entries(EVENTS).map(([event, group]) => {
    const others = othersOf(hooks[event] ?? [], event);
    const all = command === undefined ? others : [...others, { ...group, hooks: [{ type: 'command', command }] }];
    return [event, all.length === 0 ? undefined : all] as const;
  });
  const nothing = command === undefined && changes.every(([event]) => hooks[event] === undefined);
  return nothing ? text : FORMATS.jsonc.put(text, ['hooks'], Object.fromEntries(changes));
}

/** Returns the groups of an event without our hooks. */
function othersOf(groups: unknown, event: string): readonly unknown[] {
  if (!Array.isArray(groups)) throw new Error(`"hooks.${event}" is not a list`);
  return groups.flatMap((group: unknown) => {
    const hooks = valueAt(group, ['hooks']);
    if (!isObject(group) || !Array.isArray(hooks)) return [group];
    const kept = hooks.filter((hook: unknown) => !OURS.test(String(valueAt(hook, ['command']))));
    if (kept.length === hooks.length) return [group];
    return kept.length === 0 ? [] : [{ ...group, hooks: kept }];
  });
}
