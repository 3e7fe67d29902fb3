/** Bytes at the start of a file that are checked for secrets. */
export const SECRET_LOOK_BYTES = 16 * 1024;

/** Names of example files. */
const EXAMPLE = /\.(?:example|sample|template|dist|defaults?|tmpl)$/iu;

/** Paths that are secret whatever their content. Matched against the path below the source, with a leading `/`. */
const SECRET_PATHS: readonly RegExp[] = [
  /\/\.env(?:\.[^/]*)?$/u,
  /\/\.envrc$/u,
  /\/id_(?:rsa|dsa|ecdsa|ed25519)(?:_sk)?$/u,
  /\/[^/]+\.(?:p12|pfx|jks|keystore|kdbx|ppk)$/iu,
  /\/\.(?:git-credentials|pgpass|my\.cnf|htpasswd|vault-token|s3cfg|boto)$/u,
  /\/\.(?:aws|oci)\/(?:credentials|config)$/u,
  /\/\.aws\/(?:sso|cli)\/cache\/[^/]+$/u,
  /\/\.azure\/[^/]*(?:token|profile|credential)[^/]*$/iu,
  /\/(?:gcloud\/)?(?:application_default_credentials\.json|credentials\.db|access_tokens\.db)$/u,
  /\/\.kube\/config$/u,
  /\/\.config\/gh\/hosts\.yml$/u,
];

/** Directories that are skipped entirely. */
const SECRET_FOLDERS = /\/\.(?:ssh|gnupg|password-store)$/u;

/** Paths that are secret when their content matches the second pattern. */
const SECRET_CONTENTS: readonly (readonly [RegExp, RegExp])[] = [
  [/\/\.(?:npmrc|yarnrc|yarnrc\.yml)$/u, /_authToken|_auth\s*=|_password|npmAuth(?:Token|Ident)/u],
  [/\/[._]netrc$/u, /\bpassword\b/u],
  [/\/(?:\.pypirc|pip\.conf|\.pip\/pip\.conf)$/u, /^\s*password\s*[=:]|:\/\/[^/\s:]+:[^/\s@]+@/mu],
  [
    /\/(?:\.docker\/config|\.dockerconfigjson|\.dockercfg)(?:\.json)?$/u,
    /"(?:auth|identitytoken|password)"\s*:\s*"[^"]/u,
  ],
  [/\/\.cargo\/credentials(?:\.toml)?$/u, /\btoken\b/u],
  [/\/\.gem\/credentials$/u, /_api_key/u],
  [/\/\.git\/config$/u, /:\/\/[^/\s:]+:[^/\s@]+@|^\s*extraheader\s*=.*authorization/imu],
  [/\.json$/u, /"private_key"\s*:\s*"-----BEGIN/u],
  [/\.tfvars$/u, /(?:secret|password|token)\w*\s*=\s*"[^"]/iu],
];

/** Private key, secret in any file: no program needs one in its sources. */
const PRIVATE_KEY = /^\s*-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----/u;

/** Reports whether a directory contains only secrets. `path` is relative to the source. */
export function isSecretFolder(path: string): boolean {
  return SECRET_FOLDERS.test(`/${path}`);
}

/** Reports whether a file is a secret by its name alone. */
export function isSecretName(path: string): boolean {
  const below = `/${path}`;
  return !EXAMPLE.test(below) && SECRET_PATHS.some((pattern) => pattern.test(below));
}

/** Reports whether a single file is a secret by its name or by that of a folder it is in. */
export function isSecretPath(path: string): boolean {
  const names = path.split('/');
  return isSecretName(path) || names.some((_, index) => isSecretFolder(names.slice(0, index).join('/')));
}

/** Reports whether a file is a secret by its content; `head` is its first `SECRET_LOOK_BYTES`. */
export function isSecretContent(path: string, head: Uint8Array): boolean {
  if (EXAMPLE.test(path)) return false;
  const below = `/${path}`;
  const patterns = SECRET_CONTENTS.filter(([name]) => name.test(below)).map(([, content]) => content);
  // Most files match neither by name nor by their first bytes, and need not be decoded.
  if (patterns.length === 0 && !mayBeginKey(head)) return false;
  const text = Buffer.from(head.buffer, head.byteOffset, head.byteLength).toString('latin1');
  return PRIVATE_KEY.test(text) || patterns.some((pattern) => pattern.test(text));
}

/** Reports whether the content begins with a dash, possibly after white space. */
function mayBeginKey(head: Uint8Array): boolean {
  const first = head.find((byte) => byte > 0x20);
  return first === 0x2d;
}
