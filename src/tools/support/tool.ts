import type { z } from 'zod';
import type { ConTree } from '../../contract/contree.ts';
import type { OperationResponse } from '../../contract/operation.ts';
import type { Accounts } from './accounts.ts';
import type { LocalFiles } from '../../transfer/local-files.ts';

/** Cost of a call: a sandbox (seconds of CPU), or negligible. */
export type Cost = 'vm' | 'free';

/**
 * Effect of a call: `reads` changes nothing; `creates` adds something new on every call; `ensures` adds something once,
 * however often it is called; `replaces` may make something unreachable by its name.
 */
export type Effect = 'reads' | 'creates' | 'ensures' | 'replaces';

/** One step of progress; `progress` only grows within a call. */
export interface Progress {
  readonly progress: number;
  readonly total?: number;
  readonly message: string;
}

/** Link to one item that a result is about. */
export interface ResourceLink {
  readonly uri: string;
  readonly name: string;
  readonly mimeType?: string;
}

/** Outcome of asking the user to sign in to a registry. */
export type SignIn =
  | { readonly status: 'authenticated' | 'declined' }
  | { readonly status: 'pending' | 'unsupported'; readonly url?: string };

/** Variables of this machine by name; their values are never shown to a model. */
export type HostEnv = Readonly<Record<string, string>>;

/** Question to the user, which the client asks out of the model's sight. */
export interface Question {
  /** Identity of the question: an answer is valid only for the same question. */
  readonly about: string;
  readonly message: string;
  /** Page for the user to open; without one the user just agrees or refuses. */
  readonly url?: string;
}

/**
 * Outcome of a question: `dismissed` when the client returned it without an answer, as clients without a user do by
 * themselves, and `unasked` where the client cannot ask.
 */
export type Agreement = 'agreed' | 'declined' | 'dismissed' | 'unasked';

/** Request of the client to receive the operation itself when it takes longer. */
export interface TaskHandoff {
  readonly afterMs: number;
  /**
   * Called with the state of the operation that the call leaves running; the result of the call is then preliminary.
   */
  readonly take: (operation: OperationResponse) => void;
}

/** Context of a handler: one call by one client. */
export interface OfflineCall {
  /** Signal that ends waiting. `stopsWork`, called after it has fired, decides whether the work ends too. */
  readonly signal: AbortSignal;
  /** Returns true when the signal fired because the user wants the work stopped, not because the client has gone. */
  readonly stopsWork: () => boolean;
  /** Progress callback; absent when the client did not request progress. Then a call returns within `inlineWaitMs`. */
  readonly progress?: (step: Progress) => void;
  readonly inlineWaitMs: number;
  /** Present when the client can follow an operation itself instead of waiting for the result. */
  readonly taskHandoff?: TaskHandoff;
  /** Names of our tools that this server does not offer. */
  readonly missingTools?: readonly string[];
  /** Command by which the user runs our command line; default `contree`. */
  readonly program?: string;
  /** Writes one line to the server's own log (stderr), never to the model. */
  readonly log: (line: string) => void;
  /** Local folders that tools may use; absent when there are none. */
  readonly localFiles?: LocalFiles;
  /** Registry accounts of this machine; absent when the engine is remote. */
  readonly accounts?: Accounts;
  /** Variables that `run` may pass on by name. */
  readonly hostEnv?: HostEnv;
  readonly ask: (question: Question) => Promise<Agreement>;
  /** Asks the user to sign in, out of the model's sight. */
  readonly signIn: (registry: string) => Promise<SignIn>;
  /** True when registry_auth may take the secret as an argument, where the model sees it. */
  readonly allowTokenArgument?: boolean;
}

/** Call of a tool that works on the engine. */
export interface ToolCall extends OfflineCall {
  readonly contree: ConTree;
}

/** Call as made by a surface: the engine is connected only when a tool needs it. */
export interface SurfaceCall extends OfflineCall {
  readonly connect: () => Promise<ConTree>;
}

/** Result of a handler: fields of the tool's output schema, and `hint`, the next useful call in one sentence. */
type ToolResult<Output extends z.ZodObject> = z.input<Output>;

/** Tool as a value: everything a surface needs to offer it. It depends on `ConTree`, not on MCP. */
export type ToolDefinition<Input extends z.ZodObject, Output extends z.ZodObject> = ToolFacts<Input, Output> &
  (
    | { readonly offline?: false; readonly handle: Handle<ToolCall, Input, Output> }
    /** Tool that works without the engine. */
    | { readonly offline: true; readonly handle: Handle<OfflineCall, Input, Output> }
  );

type Handle<Call, Input extends z.ZodObject, Output extends z.ZodObject> = (
  call: Call,
  input: z.output<Input>,
) => Promise<ToolResult<Output>>;

interface ToolFacts<Input extends z.ZodObject, Output extends z.ZodObject> {
  readonly name: string;
  readonly title: string;
  /** Description for models: under 1,000 characters, with the cost and the cheaper alternative. */
  readonly description: string;
  readonly cost: Cost;
  readonly effect: Effect;
  /** True when it interacts with systems beyond this machine and its store. */
  readonly openWorld: boolean;
  /** True when it uses local files; not offered where no folder is allowed. */
  readonly local?: boolean;
  /** Current argument names by former ones. */
  readonly aliases?: Readonly<Record<string, string>>;
  /** Returns arguments in the form of the schema, where models often write another. */
  readonly rewrite?: (given: Readonly<Record<string, unknown>>) => Record<string, unknown>;
  readonly input: Input;
  readonly output: Output;
  /**
   * Returns the result as compact text for people and for clients without structured content. `input` holds what the
   * answer does not repeat.
   */
  readonly text: (answer: z.output<Output>, input: z.output<Input>) => string;
  readonly links?: (answer: z.output<Output>) => readonly ResourceLink[];
}

/** Tool with erased types, so that tools of all types fit one list. */
export type Tool = ToolDefinition<z.ZodObject, z.ZodObject>;

export function defineTool<Input extends z.ZodObject, Output extends z.ZodObject>(
  definition: ToolDefinition<Input, Output>,
): Tool {
  return definition as unknown as Tool;
}

/** Returns MCP annotations; all four are always present because clients check each field on its own. */
export function annotationsOf({ effect, openWorld }: Pick<Tool, 'effect' | 'openWorld'>): {
  readOnlyHint: boolean;
  destructiveHint: boolean;
  idempotentHint: boolean;
  openWorldHint: boolean;
} {
  return {
    readOnlyHint: effect === 'reads',
    destructiveHint: effect === 'replaces',
    idempotentHint: effect !== 'creates',
    openWorldHint: openWorld,
  };
}
