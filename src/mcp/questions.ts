import {
  inputRequired,
  inputResponse,
  type InputRequiredResult,
  type ServerContext,
} from '@modelcontextprotocol/server';
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { Agreement, Question } from '../tools/index.ts';
import { clientCapabilities } from './session.ts';
import type { RoundState } from './context.ts';
import type { McpSession } from './session.ts';

const ANSWER = 'answer';

const OUTCOMES = { accept: 'agreed', decline: 'declined', cancel: 'dismissed' } as const;

const OpensPages = z.looseObject({ elicitation: z.looseObject({ url: z.looseObject({}) }) });
/** Capability to show forms; `{}` is the value of clients from before other kinds existed. */
const ShowsForms = z.union([
  z.looseObject({ elicitation: z.looseObject({ form: z.looseObject({}) }) }),
  z.looseObject({ elicitation: z.strictObject({}) }),
]);

/** Control flow error that leaves a tool's handler to ask the client; the client calls again with the answer. */
export class InputNeeded extends Error {
  override readonly name = 'InputNeeded';
  readonly result: InputRequiredResult;

  constructor(result: InputRequiredResult) {
    super('the client is to ask the user');
    this.result = result;
  }
}

/**
 * Returns the parameters of a question with a page. Revision 2026-07-28 has no `elicitationId`, but clients whose parser
 * is that of the revision before refuse a question without one; others ignore it.
 */
function pageRequest(message: string, url: string) {
  return { message, url, elicitationId: randomUUID() };
}

/** Questions of one call to its user, through the client and out of the model's sight. */
export class Questions {
  readonly #session: McpSession;
  readonly #request: ServerContext;

  constructor(session: McpSession, request: ServerContext) {
    this.#session = session;
    this.#request = request;
  }

  /**
   * Reports whether the client can ask that. A client without the capability responds with a protocol error, which no
   * model can read.
   */
  possible(kind: 'page' | 'form'): boolean {
    const declared = clientCapabilities(this.#session, this.#request);
    return z.safeParse(kind === 'page' ? OpensPages : ShowsForms, declared).success;
  }

  /** Returns the answer to a question of an earlier round; undefined when it has not been asked. */
  answerTo(about: string): { readonly outcome: Exclude<Agreement, 'unasked'>; readonly state: RoundState } | undefined {
    const { inputResponses, requestState } = this.#request.mcpReq;
    const answer = inputResponse(inputResponses, ANSWER);
    const state = requestState<RoundState>();
    if (answer.kind !== 'elicit' || state?.about !== about) return undefined;
    return { outcome: OUTCOMES[answer.action], state };
  }

  /** Ends this round of the call with the question. */
  async put({ about, message, url }: Question, more: Omit<RoundState, 'about'> = {}): Promise<never> {
    const requestState = await this.#session.context.stateCodec.mint({ about, ...more });
    const asked =
      url === undefined
        ? inputRequired.elicit({ message, requestedSchema: { type: 'object', properties: {} } })
        : inputRequired.elicitUrl(pageRequest(message, url));
    throw new InputNeeded(inputRequired({ inputRequests: { [ANSWER]: asked }, requestState }));
  }

  readonly ask = async (question: Question): Promise<Agreement> => {
    if (!this.possible(question.url === undefined ? 'form' : 'page')) return 'unasked';
    const answer = this.answerTo(question.about);
    if (answer === undefined) return await this.put(question);
    return answer.outcome;
  };
}
