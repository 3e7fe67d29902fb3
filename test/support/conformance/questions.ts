import {
  acceptedContent,
  CLIENT_CAPABILITIES_META_KEY,
  inputRequired,
  inputResponse,
  type CallToolResult,
  type ElicitRequestFormParams,
  type InputRequest,
  type InputRequiredResult,
  type McpServer,
  type ServerContext,
} from '@modelcontextprotocol/server';
import { z } from 'zod';
import type { McpContext } from '../../../src/mcp/context.ts';
import { text } from './contents.ts';

/** Tools of the suite that elicit input from the client: by requests in 2025-11-25, in rounds since 2026-07-28. */

type Schema = ElicitRequestFormParams['requestedSchema'];

const NAME = form({ name: { type: 'string' } }, ['name']);

function form(properties: Schema['properties'], required?: string[]): Schema {
  return { type: 'object', properties, ...(required && { required }) };
}

const ask = (message: string, requestedSchema: Schema): InputRequest =>
  inputRequired.elicit({ message, requestedSchema });
export const askName = (): InputRequest => ask('What is your name?', NAME);
const sample = (value: string, maxTokens: number): InputRequest =>
  inputRequired.createMessage({ messages: [{ role: 'user', content: { type: 'text', text: value } }], maxTokens });

/** Schemas with defaults (SEP-1034) and with every form of enumeration (SEP-1330). */
const DEFAULTS = form({
  name: { type: 'string', default: 'John Doe' },
  age: { type: 'integer', default: 30 },
  score: { type: 'number', default: 95.5 },
  status: { type: 'string', enum: ['active', 'inactive', 'pending'], default: 'active' },
  verified: { type: 'boolean', default: true },
});
const titled = (...values: readonly string[]) => values.map((value) => ({ const: value, title: `Title of ${value}` }));
const ENUMS = form({
  untitledSingle: { type: 'string', enum: ['option1', 'option2', 'option3'] },
  titledSingle: { type: 'string', oneOf: titled('value1', 'value2', 'value3') },
  legacyEnum: { type: 'string', enum: ['opt1', 'opt2', 'opt3'], enumNames: ['One', 'Two', 'Three'] },
  untitledMulti: { type: 'array', items: { type: 'string', enum: ['option1', 'option2', 'option3'] } },
  titledMulti: { type: 'array', items: { anyOf: titled('value1', 'value2', 'value3') } },
});

/** Elicitation by requests, which needs the session of a client of 2025-11-25. */
export function registerPushed(server: McpServer): void {
  const elicit = async ({ mcpReq }: ServerContext, message: string, requestedSchema: Schema) => {
    const { action, content } = await mcpReq.elicitInput({ mode: 'form', message, requestedSchema });
    return text(`Elicitation completed: action=${action}, content=${JSON.stringify(content)}`);
  };
  const user = form({ username: { type: 'string' }, email: { type: 'string' } }, ['username', 'email']);
  server.registerTool(
    'test_elicitation',
    { description: 'asks the user', inputSchema: z.object({ message: z.string() }) },
    async ({ message }, request) => await elicit(request, message, user),
  );
  for (const [name, schema] of [
    ['test_elicitation_sep1034_defaults', DEFAULTS],
    ['test_elicitation_sep1330_enums', ENUMS],
  ] as const) {
    server.registerTool(name, { description: name }, async (request) => await elicit(request, name, schema));
  }
  server.registerTool(
    'test_sampling',
    { description: 'asks the model', inputSchema: z.object({ prompt: z.string() }) },
    async ({ prompt }, { mcpReq }) => {
      const messages = [{ role: 'user' as const, content: { type: 'text' as const, text: prompt } }];
      const { content } = await mcpReq.requestSampling({ messages, maxTokens: 100 });
      return text(`LLM response: ${JSON.stringify(content)}`);
    },
  );
}

type Handler = (request: ServerContext) => Promise<CallToolResult | InputRequiredResult>;

/** Elicits until every question has an answer, then returns the answers. */
export function rounds(questions: Readonly<Record<string, InputRequest>>): Handler {
  return async ({ mcpReq: { inputResponses } }) => {
    const open = Object.entries(questions).filter(([key]) => inputResponse(inputResponses, key).kind === 'missing');
    if (open.length > 0) return inputRequired({ inputRequests: Object.fromEntries(open) });
    return text(JSON.stringify(inputResponses));
  };
}

/** Questions in rounds; state between them is sealed with the product's own codec. */
export function registerRounds(server: McpServer, { stateCodec }: McpContext): void {
  const seal = async (step: string): Promise<string> => await stateCodec.mint({ about: step });
  const stated: Handler = async ({ mcpReq: { inputResponses, requestState } }) => {
    const confirm = ask('Please confirm', form({ ok: { type: 'boolean' } }, ['ok']));
    if (acceptedContent(inputResponses, 'confirm') !== undefined && requestState() !== undefined)
      return text('state-ok');
    return inputRequired({ inputRequests: { confirm }, requestState: await seal('confirm') });
  };
  const many: Handler = async ({ mcpReq: { inputResponses } }) => {
    const inputRequests = {
      user_name: askName(),
      greeting: sample('Generate a greeting', 50),
      client_roots: inputRequired.listRoots(),
    };
    const all = Object.keys(inputRequests).every((key) => inputResponse(inputResponses, key).kind !== 'missing');
    return all ? text('complete') : inputRequired({ inputRequests, requestState: await seal('all') });
  };
  const steps: Handler = async ({ mcpReq: { inputResponses } }) => {
    if (acceptedContent(inputResponses, 'step2') !== undefined) return text('complete');
    const second = acceptedContent(inputResponses, 'step1') !== undefined;
    const colour = ask('Step 2: What is your favorite color?', form({ color: { type: 'string' } }, ['color']));
    const inputRequests = second ? { step2: colour } : { step1: ask('Step 1: What is your name?', NAME) };
    return inputRequired({ inputRequests, requestState: await seal(second ? 'step2' : 'step1') });
  };
  /** Elicits only what this client supports. */
  const able: Handler = async ({ mcpReq: { envelope } }) => {
    const declared = Object(z.looseObject({}).parse(envelope ?? {})[CLIENT_CAPABILITIES_META_KEY]) as object;
    const questions = { sampling: sample('Say hello', 50), elicitation: askName() };
    return inputRequired({
      inputRequests: Object.fromEntries(Object.entries(questions).filter(([capability]) => capability in declared)),
    });
  };
  const tools: Readonly<Record<string, Handler>> = {
    test_input_required_result_elicitation: rounds({ user_name: askName() }),
    test_streaming_elicitation: rounds({ user_name: askName() }),
    test_input_required_result_sampling: rounds({ capital_question: sample('What is the capital of France?', 100) }),
    test_missing_capability: rounds({ capital_question: sample('What is the capital of France?', 100) }),
    test_input_required_result_list_roots: rounds({ client_roots: inputRequired.listRoots() }),
    test_input_required_result_request_state: stated,
    test_input_required_result_tampered_state: stated,
    test_input_required_result_multiple_inputs: many,
    test_input_required_result_multi_round: steps,
    test_input_required_result_capabilities: able,
  };
  for (const [name, handler] of Object.entries(tools)) server.registerTool(name, { description: name }, handler);
  server.registerPrompt('test_input_required_result_prompt', { description: 'asks first' }, ({ mcpReq }) => {
    const context = acceptedContent(mcpReq.inputResponses, 'user_context');
    const question = ask('What context should the prompt use?', form({ context: { type: 'string' } }, ['context']));
    if (context === undefined) return inputRequired({ inputRequests: { user_context: question } });
    return { messages: [{ role: 'user', content: { type: 'text', text: JSON.stringify(context) } }] };
  });
}
