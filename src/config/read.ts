import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { fault, isFault } from '../contract/errors.ts';
import { iniSections, parseIni } from './ini.ts';
import type { Program, Setting } from './setting.ts';
import { SETTINGS, type SettingName, type Settings } from './settings.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

/** Sources of the values. `flags` has only the settings named on the command line. */
export interface SettingSources {
  readonly program: Program;
  readonly flags: Partial<Readonly<Record<SettingName, string>>>;
  readonly env: Environment;
}

/** Returns `[name, row]` of every setting a program takes, in table order. */
export function settingsOf(program: Program): readonly (readonly [SettingName, Setting<unknown>])[] {
  const rows = Object.entries(SETTINGS) as [SettingName, Setting<unknown>][];
  return rows.filter(([, row]) => row.programs.includes(program));
}

/** Returns the environment variables of a setting; the first that is set wins. */
export function environmentNames(program: Program, row: Setting<unknown>): readonly string[] {
  return program === 'contree-mcp' ? [row.env.replace('CONTREE_', 'CONTREE_MCP_'), row.env] : [row.env];
}

function fromEnvironment(sources: SettingSources, row: Setting<unknown>): string | undefined {
  const names = environmentNames(sources.program, row);
  return names.map((name) => sources.env[name]).find((value) => value !== undefined && value !== '');
}

function parse(row: Setting<unknown>, from: string, value: string): unknown {
  try {
    return row.parse(value);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw fault('CONFIG_INVALID', { setting: from, reason }, { cause: error });
  }
}

/**
 * Returns the values of the configuration file by key; a missing file counts as empty unless it was named explicitly.
 */
function fileValues(sources: SettingSources): Readonly<Record<string, string>> {
  const named = sources.flags.config ?? fromEnvironment(sources, SETTINGS.config);
  const file = sources.program === 'contree-mcp' ? 'mcp.ini' : 'contree.ini';
  const path = named ?? join(configHome(sources.env), 'contree', file);
  const profile = sources.flags.profile ?? fromEnvironment(sources, SETTINGS.profile);
  const other = named === undefined && profile !== undefined ? hostedProfile(sources.env, profile) : undefined;
  if (named === undefined && !existsSync(path)) {
    if (profile === undefined || other !== undefined) return other ?? {};
    throw fault('CONFIG_INVALID', { setting: 'profile', reason: `there is no profile ${JSON.stringify(profile)}` });
  }
  try {
    const text = readFileSync(path, 'utf8');
    if (other === undefined || iniSections(text).has(profile ?? '')) return parseIni(text, profile);
    return { ...parseIni(text), ...other };
  } catch (error) {
    if (isFault(error)) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw fault('CONFIG_INVALID', { setting: 'config', reason }, { cause: error });
  }
}

/** Keys of a profile in `auth.ini` that we use. */
const HOSTED_KEYS = ['url', 'token', 'project'] as const;

/**
 * Returns a profile saved by the hosted service's own command line (`[profile:NAME]` of `auth.ini` in our folder): its
 * URL and credentials. Returns undefined when there is no such profile.
 */
function hostedProfile(env: Environment, profile: string): Readonly<Record<string, string>> | undefined {
  const path = authFile(env);
  if (!existsSync(path)) return undefined;
  const section = iniSections(readFileSync(path, 'utf8')).get(`profile:${profile}`);
  if (section === undefined) return undefined;
  const kept = HOSTED_KEYS.flatMap((key) => (section[key] === undefined ? [] : [[key, section[key]] as const]));
  return Object.fromEntries(kept);
}

function valueOf(sources: SettingSources, file: Readonly<Record<string, string>>, name: SettingName): unknown {
  const row: Setting<unknown> = SETTINGS[name];
  if (!row.programs.includes(sources.program)) return row.default;
  const flag = sources.flags[name];
  if (flag !== undefined) return parse(row, `--${row.flag}`, flag);
  const env = fromEnvironment(sources, row);
  if (env !== undefined) return parse(row, row.env, env);
  const key = row.flag.replaceAll('-', '_');
  const kept = file[key];
  return kept === undefined ? row.default : parse(row, `${key} of the configuration file`, kept);
}

function refuseUnknownKeys(file: Readonly<Record<string, string>>): void {
  const known = new Set(Object.values(SETTINGS).map(({ flag }) => flag.replaceAll('-', '_')));
  const unknown = Object.keys(file).find((key) => !known.has(key));
  if (unknown !== undefined) {
    throw fault('CONFIG_INVALID', { setting: unknown, reason: 'the configuration file has no such key' });
  }
}

/** Returns the value of every setting. Faults: CONFIG_INVALID. */
export function readSettings(sources: SettingSources): Settings {
  const file = fileValues(sources);
  refuseUnknownKeys(file);
  const names = Object.keys(SETTINGS) as SettingName[];
  const values = Object.fromEntries(names.map((name) => [name, valueOf(sources, file, name)])) as Settings;
  if ((values.tlsCert === '') !== (values.tlsKey === '')) {
    throw fault('CONFIG_INVALID', { setting: '--tls-cert', reason: 'must be given together with --tls-key' });
  }
  return { ...values, dataDir: resolve(values.dataDir || join(dataHome(sources.env), 'contree')) };
}

/** Returns the file with the profiles that the hosted service's own command line shares. */
export function authFile(env: Environment): string {
  return join(configHome(env), 'contree', 'auth.ini');
}

function configHome(env: Environment): string {
  return env['XDG_CONFIG_HOME'] || join(home(env), '.config');
}

function home(env: Environment): string {
  return env['HOME'] || homedir();
}

/** Returns the folder in which the command line remembers what it did, `$XDG_STATE_HOME/contree`. */
export function stateFolder(env: Environment): string {
  return join(env['XDG_STATE_HOME'] || join(home(env), '.local', 'state'), 'contree');
}

/** Returns the path of the digest cache of local files; losing the file only costs time. */
export function hashCacheFile({ cacheFiles }: Settings, env: Environment): string {
  if (cacheFiles !== '') return resolve(cacheFiles);
  return join(env['XDG_CACHE_HOME'] || join(home(env), '.cache'), 'contree', 'hashes.sqlite');
}

/** Returns the ignore file for all repositories that git reads when its configuration names none (gitignore(5)). */
export function userIgnoreFile(env: Environment): string {
  return join(configHome(env), 'git', 'ignore');
}

/** Returns the files with registry credentials: our own and Docker's. */
export function credentialFiles(env: Environment): { readonly own: string; readonly docker: string } {
  const docker = env['DOCKER_CONFIG'] || join(home(env), '.docker');
  return { own: join(configHome(env), 'contree', 'registries.json'), docker: join(docker, 'config.json') };
}

/** Returns the data directory that a process without any of our variables uses. */
export function plainDataDir(env: Environment): string {
  return join(home(env), '.local', 'share', 'contree');
}

function dataHome(env: Environment): string {
  return env['XDG_DATA_HOME'] || join(home(env), '.local', 'share');
}

/** Returns flags that pass our engine settings to a background engine; values equal to the default are omitted. */
export function engineArguments(settings: Settings): string[] {
  const rows = Object.entries(SETTINGS) as [SettingName, Setting<unknown>][];
  const passed = rows.filter(
    ([name, row]) => name === 'dataDir' || (row.group === 'engine' && String(settings[name]) !== String(row.default)),
  );
  return passed.map(([name, row]) => `--${row.flag}=${String(settings[name])}`);
}
