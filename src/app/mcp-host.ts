/** Process facilities that the MCP command needs. */
export interface McpHost {
  readonly env: NodeJS.ProcessEnv;
  readonly version: string;
  readonly self: readonly [string, ...string[]];
  readonly cwd: string;
  /** Folder with the console's files. */
  readonly consoleDir: string;
  readonly stderr: NodeJS.WritableStream;
  readonly stdout: NodeJS.WritableStream;
  /** Calls back at each signal until disposed. */
  onSignal(name: NodeJS.Signals, callback: () => void): Disposable;
}
