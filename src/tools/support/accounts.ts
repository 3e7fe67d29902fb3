/** Registry accounts of the user as visible to tools: never the secret itself. */
export interface Accounts {
  /** Returns the user name stored for a registry host in our own store, Docker's or the environment. */
  find(registry: string, signal?: AbortSignal): Promise<{ readonly username: string } | undefined>;
  /**
   * Verifies the credentials at the registry and stores them when it accepts. Rejects with REGISTRY_DENIED otherwise.
   */
  signIn(registry: string, credentials: SignInCredentials, signal?: AbortSignal): Promise<void>;
}

export interface SignInCredentials {
  readonly username: string;
  readonly secret: string;
}
