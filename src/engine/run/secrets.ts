/** Endings of names whose values are secrets (contract of the hosted service). */
const SECRET = /(?:token|secret|password|passwd|api_?key|credentials?|authorization|private_?key)$/iu;

export const MASK = '<MASKED>';

/** Reports whether the name of a variable suggests a secret. */
export function isSecretVariable(name: string): boolean {
  return SECRET.test(name);
}

/** Returns an environment that may be logged and stored: with secret-looking values masked. */
export function maskEnv<Value extends string | null>(
  env: Readonly<Record<string, Value>>,
): Record<string, Value | string> {
  return Object.fromEntries(
    Object.entries(env).map(([name, value]) => [name, value !== null && isSecretVariable(name) ? MASK : value]),
  );
}

/** Returns a reference without a user and password in it. Text before an `@digest` is its name. */
export function maskUrl(url: string): string {
  return url.replace(/^([a-z][a-z0-9+.-]*:\/\/)?[^/]*@(?!sha\d+:[^/]*$)/iu, '$1');
}
