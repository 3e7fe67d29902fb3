import { execFile } from 'node:child_process';
import { open } from 'node:fs/promises';
import { z } from 'zod';
import type { RegistryCredentials, CredentialSource } from './credentials.ts';

const CONFIG_BYTES_MAX = 1024 * 1024;
const HELPER_OUTPUT_BYTES_MAX = 64 * 1024;
const HELPER_TIMEOUT_MS = 10_000;
/** Names of credential helpers; they become part of a program name, so slashes and spaces are refused. */
const HELPER_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/u;
/** Key of Docker Hub in Docker's configuration. */
const HUB_KEY = 'https://index.docker.io/v1/';

const Auth = z.object({
  auth: z.string().optional(),
  username: z.string().optional(),
  password: z.string().optional(),
  identitytoken: z.string().optional(),
});

const DockerConfig = z.object({
  auths: z.record(z.string(), Auth.nullable()).optional(),
  credHelpers: z.record(z.string(), z.string()).optional(),
  credsStore: z.string().optional(),
});
type DockerConfig = z.infer<typeof DockerConfig>;

const HelperAnswer = z.object({ Username: z.string(), Secret: z.string() });

/**
 * Returns a source of the credentials stored by `docker login`: `credHelpers` and `credsStore` by running
 * `docker-credential-NAME get`, then `auths`. A missing or unreadable file or a failing helper counts as no
 * credentials: they belong to another program, and a public image needs none.
 */
export function dockerCredentials(configPath: string): CredentialSource {
  return async (registry, signal) => {
    const config = await readConfig(configPath);
    if (config === undefined) return undefined;
    const keys = keysOf(registry);
    const helper = keys.map((key) => config.credHelpers?.[key]).find((name) => name !== undefined) ?? config.credsStore;
    const [serverUrl = registry] = keys;
    const helped = helper === undefined || helper === '' ? undefined : await askHelper(helper, serverUrl, signal);
    return helped ?? storedAuth(config, keys);
  };
}

function keysOf(registry: string): string[] {
  if (registry === 'docker.io') return [HUB_KEY, 'docker.io', 'index.docker.io', 'registry-1.docker.io'];
  return [
    registry,
    `https://${registry}`,
    `https://${registry}/`,
    `https://${registry}/v1/`,
    `https://${registry}/v2/`,
  ];
}

async function readConfig(path: string): Promise<DockerConfig | undefined> {
  try {
    await using file = await open(path, 'r');
    const { size } = await file.stat();
    if (size > CONFIG_BYTES_MAX) return undefined;
    return DockerConfig.safeParse(JSON.parse(await file.readFile('utf8'))).data;
  } catch {
    return undefined;
  }
}

function storedAuth(config: DockerConfig, keys: readonly string[]): RegistryCredentials | undefined {
  const auth = keys.map((key) => config.auths?.[key]).find((entry) => entry !== undefined && entry !== null);
  if (auth === undefined || auth === null) return undefined;
  const { identitytoken = '', username = '', password = '' } = auth;
  if (identitytoken !== '') return { identityToken: identitytoken };
  if (username !== '' && password !== '') return { username, password };
  const decoded = Buffer.from(auth.auth ?? '', 'base64')
    .toString('utf8')
    .replace(/\0+$/u, '');
  const colon = decoded.indexOf(':');
  return colon < 1 ? undefined : { username: decoded.slice(0, colon), password: decoded.slice(colon + 1) };
}

/** Runs a credential helper; its protocol is github.com/docker/docker-credential-helpers. */
async function askHelper(
  name: string,
  serverUrl: string,
  signal: AbortSignal,
): Promise<RegistryCredentials | undefined> {
  if (!HELPER_NAME.test(name)) return undefined;
  const output = await new Promise<string>((resolve) => {
    const child = execFile(
      `docker-credential-${name}`,
      ['get'],
      { timeout: HELPER_TIMEOUT_MS, killSignal: 'SIGKILL', maxBuffer: HELPER_OUTPUT_BYTES_MAX, signal },
      (error, stdout) => resolve(error === null ? stdout : ''),
    );
    // A helper that is missing or exits early closes the pipe; its exit code is what matters.
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(serverUrl);
  });
  signal.throwIfAborted();
  const answer = parseAnswer(output);
  if (answer === undefined || answer.Secret === '') return undefined;
  if (answer.Username === '<token>') return { identityToken: answer.Secret };
  return { username: answer.Username, password: answer.Secret };
}

function parseAnswer(output: string): z.infer<typeof HelperAnswer> | undefined {
  try {
    return HelperAnswer.safeParse(JSON.parse(output)).data;
  } catch {
    return undefined;
  }
}
