import type { Heredoc } from './heredoc.ts';
import type { Escape } from './words.ts';

/** Place of an instruction in its Dockerfile. */
interface Written {
  /** Line on which it begins, from 1. */
  readonly line: number;
  /** Whole instruction as it is written, continuation lines joined, here-documents included. */
  readonly text: string;
}

/** Command in exec form (JSON), or in shell form. */
export type CommandForm =
  | { readonly form: 'exec'; readonly words: readonly string[] }
  | { readonly form: 'shell'; readonly expression: string };

/** Name and value; the value may contain variables. */
export interface Pair {
  readonly name: string;
  readonly value: string;
}

/** RUN. */
export interface RunInstruction extends Written {
  readonly kind: 'RUN';
  readonly command: CommandForm;
  readonly heredocs: readonly Heredoc[];
  /** Values of `--mount`, with variables. */
  readonly mounts: readonly string[];
  readonly network: 'default' | 'none';
}

/** COPY or ADD. Texts may contain variables. */
export interface CopyInstruction extends Written {
  readonly kind: 'COPY' | 'ADD';
  /** Sources that are paths or URLs. */
  readonly sources: readonly string[];
  /** Sources that are here-documents. */
  readonly contents: readonly Heredoc[];
  readonly destination: string;
  readonly from: string | undefined;
  readonly chown: string | undefined;
  readonly chmod: string | undefined;
  readonly checksum: string | undefined;
  readonly exclude: readonly string[];
  readonly link: boolean;
  readonly parents: boolean;
  /** True to unpack local archives, and downloaded ones only if that is asked for; undefined for the default of ADD. */
  readonly unpack: boolean | undefined;
}

/** HEALTHCHECK. Durations in nanoseconds, as in image configurations; 0 for the default. */
export interface HealthcheckInstruction extends Written {
  readonly kind: 'HEALTHCHECK';
  /** `NONE`, or `CMD` or `CMD-SHELL` with the command. */
  readonly test: readonly string[];
  readonly interval: number;
  readonly timeout: number;
  readonly startPeriod: number;
  readonly startInterval: number;
  readonly retries: number;
}

/** ARG; a value is absent where only the name is declared. */
export interface ArgInstruction extends Written {
  readonly kind: 'ARG';
  readonly args: readonly { readonly name: string; readonly value: string | undefined }[];
}

/** Instruction within a stage. */
export type Instruction =
  | RunInstruction
  | CopyInstruction
  | HealthcheckInstruction
  | ArgInstruction
  | (Written & { readonly kind: 'ENV' | 'LABEL'; readonly pairs: readonly Pair[] })
  | (Written & { readonly kind: 'WORKDIR' | 'USER' | 'STOPSIGNAL' | 'MAINTAINER'; readonly value: string })
  | (Written & { readonly kind: 'CMD' | 'ENTRYPOINT'; readonly command: CommandForm })
  | (Written & { readonly kind: 'SHELL' | 'EXPOSE' | 'VOLUME'; readonly words: readonly string[] })
  | (Written & { readonly kind: 'ONBUILD'; readonly trigger: string });

/** FROM with the instructions that follow it. */
export interface Stage extends Written {
  /** Position in the file, from 0. */
  readonly index: number;
  /** Name in lower case, after AS. */
  readonly name: string | undefined;
  /** Base as it is written, with variables. */
  readonly base: string;
  readonly platform: string | undefined;
  readonly instructions: readonly Instruction[];
}

/** A parsed Dockerfile. */
export interface Dockerfile {
  readonly escape: Escape;
  /** ARG instructions before the first FROM. */
  readonly globalArgs: readonly ArgInstruction[];
  readonly stages: readonly Stage[];
}
