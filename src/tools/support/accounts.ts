/** Registry accounts of the user, as far as tools may know them: never the secret itself. */
export interface Accounts {
  /** The user name stored for a registry host, from our own store, docker's or the environment. */
  find(registry: string, signal?: AbortSignal): Promise<{ readonly username: string } | undefined>;
  /** Tries the credentials against the registry and keeps them when it accepts; throws REGISTRY_DENIED when not. */
  signIn(registry: string, credentials: Credentials, signal?: AbortSignal): Promise<void>;
}

export interface Credentials {
  readonly username: string;
  readonly secret: string;
}
