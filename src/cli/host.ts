import type { Readable, Writable } from 'node:stream';
import type { Environment, Settings } from '../config/index.ts';

/** Output stream that may be a terminal. */
export interface TerminalOutput extends Writable {
  readonly isTTY?: boolean;
  readonly columns?: number;
  readonly rows?: number;
}

export interface TerminalInput extends Readable {
  readonly isTTY?: boolean;
  setRawMode?(raw: boolean): unknown;
}

/** Everything a command may know about the process it runs in. */
export interface CliHost {
  readonly stdin: TerminalInput;
  readonly stdout: TerminalOutput;
  readonly stderr: TerminalOutput;
  readonly env: Environment;
  /** Version of the package. */
  readonly version: string;
  /** Program and first arguments that start this command line again, for a background engine. */
  readonly self: readonly [string, ...string[]];
  /** Calls back at each signal until disposed; meanwhile the signal does not end the process. */
  readonly onSignal: (name: NodeJS.Signals, callback: () => void) => Disposable;
  /** Runs as the engine of the data directory until asked to stop. `print` takes a line for the person watching. */
  readonly runEngineProcess: (settings: Settings, life: EngineLife) => Promise<void>;
}

export interface EngineLife {
  /** True to listen on TCP as well. */
  readonly tcp: boolean;
  readonly readyDescriptor?: number;
  readonly print: (line: string) => void;
}
