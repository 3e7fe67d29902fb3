import type { Readable, Writable } from 'node:stream';
import type { Environment, Settings } from '../config/index.ts';

/** A stream that may be a terminal. */
export interface Output extends Writable {
  readonly isTTY?: boolean;
  readonly columns?: number;
  readonly rows?: number;
}

export interface Input extends Readable {
  readonly isTTY?: boolean;
  setRawMode?(raw: boolean): unknown;
}

/** Everything a command may know of the process it runs in. */
export interface CliHost {
  readonly stdin: Input;
  readonly stdout: Output;
  readonly stderr: Output;
  readonly env: Environment;
  /** Version of the product. */
  readonly version: string;
  /** Program and first arguments that run this command line again, for an engine in the background. */
  readonly self: readonly [string, ...string[]];
  /** Calls back at each signal until it is disposed; meanwhile the signal does not end the process. */
  readonly onSignal: (name: NodeJS.Signals, callback: () => void) => Disposable;
  /** Lives as the engine of the data directory until asked to leave. `print` takes a line for whoever watches. */
  readonly liveAsEngine: (settings: Settings, life: EngineLife) => Promise<void>;
}

export interface EngineLife {
  /** Whether it also listens on TCP. */
  readonly tcp: boolean;
  readonly readyDescriptor?: number;
  readonly print: (line: string) => void;
}
