import {
  inputRequired,
  inputResponse,
  type InputRequiredResult,
  type McpServer,
  type ServerContext,
} from '@modelcontextprotocol/server';
import { z } from 'zod';
import type { SignIn } from '../tools/index.ts';
import type { Channel } from './abort.ts';
import { clientCapabilities } from './capabilities.ts';
import type { McpContext, SignInState } from './context.ts';

const REQUEST = 'sign_in';
const UrlElicitation = z.looseObject({ elicitation: z.looseObject({ url: z.looseObject({}) }) });

/** Leaves a tool's handler to ask the client for something; the client calls again with the answer. */
export class InputNeeded extends Error {
  override readonly name = 'InputNeeded';
  readonly result: InputRequiredResult;

  constructor(result: InputRequiredResult) {
    super('the client is to ask the user');
    this.result = result;
  }
}

/** One call's way to have the user sign in: by URL elicitation where the client can, else by telling what to do. */
export function signInFor(
  context: McpContext,
  server: McpServer,
  request: ServerContext,
  channel: Channel,
): (registry: string) => Promise<SignIn> {
  const { desk, stateCodec } = context;
  return async (registry) => {
    if (!desk.available) return { status: 'unsupported' };
    const { inputResponses, requestState, signal } = request.mcpReq;
    const answer = inputResponse(inputResponses, REQUEST);
    const state = requestState<SignInState>();
    if (answer.kind === 'elicit' && state?.registry === registry) {
      if (answer.action !== 'accept') {
        desk.close(state.page);
        return { status: 'declined' };
      }
      // To accept is only to have opened the page.
      const done = await desk.wait(state.page, context.inlineWaitMs, signal);
      return { status: done ? 'authenticated' : 'pending' };
    }
    const { id, url } = await desk.open(registry);
    // A client that did not declare it answers an elicitation with a protocol error, which no model can read.
    const canElicit = z.safeParse(UrlElicitation, clientCapabilities(server, request, channel)).success;
    if (!canElicit) return { status: 'unsupported', url };
    const message = `Sign in to ${registry}: enter a read-only token on a page of this machine.`;
    throw new InputNeeded(
      inputRequired({
        inputRequests: { [REQUEST]: inputRequired.elicitUrl({ message, url }) },
        requestState: await stateCodec.mint({ registry, page: id }),
      }),
    );
  };
}
