import type { z } from 'zod';
import type { ConTree } from '../../contract/contree.ts';
import type { OperationResponse } from '../../contract/operation.ts';
import type { Accounts } from './accounts.ts';
import type { LocalFiles } from '../../transfer/local-files.ts';

/** What a call spends: a microVM (seconds of CPU), or nothing worth counting. */
export type Cost = 'vm' | 'free';

/**
 * What a call does to the world: `reads` changes nothing; `creates` adds something new on every call; `ensures` adds
 * something once, however often it is called; `replaces` may make something unreachable by its name.
 */
export type Effect = 'reads' | 'creates' | 'ensures' | 'replaces';

/** One step of progress; `progress` only grows within a call. */
export interface Progress {
  readonly progress: number;
  readonly total?: number;
  readonly message: string;
}

/** A link to one thing that a result is about. */
export interface ResourceLink {
  readonly uri: string;
  readonly name: string;
  readonly mimeType?: string;
}

/** How a request to the user to sign in to a registry ended. */
export type SignIn =
  | { readonly status: 'authenticated' | 'declined' }
  | { readonly status: 'pending' | 'unsupported'; readonly url?: string };

/** Names of variables of this machine and their values, which no model sees. */
export type HostEnv = Readonly<Record<string, string>>;

/** A question to the user, which the client asks outside of the model's sight. */
export interface Question {
  /** Equal for equal questions: an answer counts only for the question it was given to. */
  readonly about: string;
  readonly message: string;
  /** A page that the user is to open; without one the user agrees, or does not. */
  readonly url?: string;
}

/** What came of a question; `unasked` where the client cannot ask. */
export type Agreement = 'agreed' | 'refused' | 'unasked';

/** The client's wish to be given the operation itself when it takes longer. */
export interface HandOver {
  readonly afterMs: number;
  /** Told the state of the operation that the call leaves behind; the call's answer is then only what is known so far. */
  readonly take: (operation: OperationResponse) => void;
}

/** What a handler gets beside its arguments: one call by one client. */
export interface OfflineCall {
  /** Ends the waiting. Whether the work is to end too is `stopsWork`'s answer, asked after the signal has fired. */
  readonly signal: AbortSignal;
  /** True when the signal fired because the user wants the work itself stopped, not because nobody listens any more. */
  readonly stopsWork: () => boolean;
  /** Absent when the client did not ask for progress; then a call answers within `inlineWaitMs`. */
  readonly progress?: (step: Progress) => void;
  readonly inlineWaitMs: number;
  /** Present when the client can follow an operation by itself, in place of an answer that takes longer. */
  readonly handOver?: HandOver;
  /** One line for the server's own log (stderr), never for the model. */
  readonly log: (line: string) => void;
  /** Folders of this machine that tools may use; absent when they may use none. */
  readonly localFiles?: LocalFiles;
  /** Registry accounts of this machine; absent when the engine is elsewhere. */
  readonly accounts?: Accounts;
  /** What `run` may pass on by name. */
  readonly hostEnv?: HostEnv;
  readonly ask: (question: Question) => Promise<Agreement>;
  /** Asks the user, outside of the model's sight, to sign in. */
  readonly signIn: (registry: string) => Promise<SignIn>;
  /** Whether registry_auth may take the secret as an argument, where the model sees it. */
  readonly allowTokenArgument?: boolean;
}

/** A call of a tool that works on the engine. */
export interface ToolCall extends OfflineCall {
  readonly contree: ConTree;
}

/** A call as a surface makes it: the engine is connected only when a tool needs it. */
export interface SurfaceCall extends OfflineCall {
  readonly connect: () => Promise<ConTree>;
}

/** What a handler answers: fields of the tool's output schema, and `hint`, the next useful call in one sentence. */
export type Answer<Output extends z.ZodObject> = z.input<Output>;

/** A tool as a value: everything a surface needs to offer it. It knows `ConTree`, not MCP. */
export type ToolDefinition<Input extends z.ZodObject, Output extends z.ZodObject> = ToolFacts<Input, Output> &
  (
    | { readonly offline?: false; readonly handle: Handle<ToolCall, Input, Output> }
    /** Answers without the engine. */
    | { readonly offline: true; readonly handle: Handle<OfflineCall, Input, Output> }
  );

type Handle<Call, Input extends z.ZodObject, Output extends z.ZodObject> = (
  call: Call,
  input: z.output<Input>,
) => Promise<Answer<Output>>;

interface ToolFacts<Input extends z.ZodObject, Output extends z.ZodObject> {
  readonly name: string;
  readonly title: string;
  /** For models: under 1,000 characters, states the cost, steers to the cheaper way. */
  readonly description: string;
  readonly cost: Cost;
  readonly effect: Effect;
  /** Reaches beyond this machine and its store. */
  readonly openWorld: boolean;
  /** Uses files of this machine; dropped where no folder is allowed. */
  readonly local?: boolean;
  /** Former argument names → present ones. */
  readonly aliases?: Readonly<Record<string, string>>;
  readonly input: Input;
  readonly output: Output;
  /** The answer in compact form for people and for clients without structured content. */
  readonly text: (answer: z.output<Output>) => string;
  readonly links?: (answer: z.output<Output>) => readonly ResourceLink[];
}

/** A tool whose own types are checked and forgotten, so that tools of all types fit one list. */
export type Tool = ToolDefinition<z.ZodObject, z.ZodObject>;

export function defineTool<Input extends z.ZodObject, Output extends z.ZodObject>(
  definition: ToolDefinition<Input, Output>,
): Tool {
  return definition as unknown as Tool;
}

/** MCP's annotations, all four always given because clients look at each field alone. */
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
