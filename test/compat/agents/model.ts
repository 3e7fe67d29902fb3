import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';

/** Fields of a request to a model, of either API, that the answer depends on. */
interface ModelRequest {
  readonly model?: string;
  readonly stream?: boolean;
  readonly tools?: readonly { readonly name?: string }[];
  /** Conversation in the API of Anthropic. */
  readonly messages?: readonly unknown[];
  /** Conversation in the API of OpenAI. */
  readonly input?: readonly unknown[];
}

/** Call of a tool by the model. */
interface Call {
  readonly tool: string;
  readonly id: string;
  readonly input: unknown;
}

/** Time that an agent waits for a command, and after which Codex answers while it goes on. */
const COMMAND_MS_MAX = 600_000;
const WAIT_MS = 30_000;

/** Event of a stream: its type is also the name of the server-sent event. */
interface ModelEvent {
  readonly type: string;
  readonly [field: string]: unknown;
}

/** Server on loopback that answers as models do: it has the agent execute shell commands, then it says that it is done. */
export class FakeModel implements AsyncDisposable {
  readonly #server = createServer((request, response) => void this.#answer(request, response));
  /** Number of calls so far. */
  #calls = 0;
  /** Commands that are asked for one after another. */
  commands: string[] = [];
  /** Last entries of the conversation as JSON, one for each request with the shell tool: there the agent sends what came out. */
  readonly seen: string[] = [];

  private constructor() {}

  static async start(): Promise<FakeModel> {
    const model = new FakeModel();
    model.#server.listen(0, '127.0.0.1');
    await once(model.#server, 'listening');
    return model;
  }

  /** Address without a path. */
  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = request.method === 'POST' ? ((await json(request)) as ModelRequest) : {};
    const { pathname } = new URL(request.url ?? '', this.url);
    if (pathname === '/v1/messages') this.#answerMessages(body, response);
    else if (pathname === '/v1/responses') send(response, this.#responses(body));
    else response.writeHead(404, { 'Content-Type': 'application/json' }).end('{}');
  }

  /** Returns the next call for a request that offers one of these tools: the next command, or to wait for the last one. */
  #next({ tools = [], messages, input }: ModelRequest, ...names: readonly string[]): Call | undefined {
    const tool = names.find((name) => tools.some((offered) => offered.name === name));
    if (tool === undefined) return undefined;
    const last = JSON.stringify((messages ?? input ?? []).at(-1));
    const id = `call_${(this.#calls += 1)}`;
    // Codex answers before a slow command has ended.
    const session = /Process running with session ID (\d+)/u.exec(last)?.[1];
    if (session !== undefined) {
      return { tool: 'write_stdin', id, input: { session_id: Number(session), chars: '', yield_time_ms: WAIT_MS } };
    }
    this.seen.push(last);
    const command = this.commands.shift();
    return command === undefined ? undefined : { tool, id, input: inputOf(tool, command) };
  }

  /** https://docs.anthropic.com/en/api/messages-streaming */
  #answerMessages(body: ModelRequest, response: ServerResponse): void {
    const next = this.#next(body, 'Bash');
    const block = next
      ? { type: 'tool_use', id: next.id, name: next.tool, input: {} }
      : { type: 'text', text: body.stream ? '' : 'done' };
    const stop = { stop_reason: next ? 'tool_use' : 'end_turn', stop_sequence: null };
    const message = {
      id: 'msg_1',
      type: 'message',
      role: 'assistant',
      model: body.model,
      content: [],
      stop_reason: null,
      stop_sequence: null,
      usage: { input_tokens: 1, output_tokens: 1 },
    };
    if (body.stream !== true) {
      const whole = JSON.stringify({ ...message, ...stop, content: [next ? { ...block, input: next.input } : block] });
      response.writeHead(200, { 'Content-Type': 'application/json' }).end(whole);
      return;
    }
    const delta = next
      ? { type: 'input_json_delta', partial_json: JSON.stringify(next.input) }
      : { type: 'text_delta', text: 'done' };
    send(response, [
      { type: 'message_start', message },
      { type: 'content_block_start', index: 0, content_block: block },
      { type: 'content_block_delta', index: 0, delta },
      { type: 'content_block_stop', index: 0 },
      { type: 'message_delta', delta: stop, usage: { output_tokens: 1 } },
      { type: 'message_stop' },
    ]);
  }

  /** https://platform.openai.com/docs/api-reference/responses-streaming */
  #responses(body: ModelRequest): readonly ModelEvent[] {
    const next = this.#next(body, 'exec_command', 'shell_command', 'shell');
    const usage = { input_tokens: 1, output_tokens: 1, total_tokens: 2 };
    return [
      { type: 'response.created', response: { id: 'response_1' } },
      { type: 'response.output_item.done', output_index: 0, item: next ? callOf(next) : DONE },
      { type: 'response.completed', response: { id: 'response_1', usage } },
    ];
  }
}

const DONE = { type: 'message', role: 'assistant', id: 'message_1', content: [{ type: 'output_text', text: 'done' }] };

function callOf({ tool, id, input }: Call) {
  return { type: 'function_call', id: `item_${id}`, call_id: id, name: tool, arguments: JSON.stringify(input) };
}

/** Returns the input with which the tool executes a command and waits for it. */
function inputOf(tool: string, command: string): unknown {
  switch (tool) {
    case 'Bash':
      return { command, description: 'what it does', timeout: COMMAND_MS_MAX };
    case 'exec_command':
      return { cmd: command, yield_time_ms: WAIT_MS };
    case 'shell':
      return { command: ['bash', '-lc', command], timeout_ms: COMMAND_MS_MAX };
    default:
      return { command, timeout_ms: COMMAND_MS_MAX };
  }
}

function send(response: ServerResponse, events: readonly ModelEvent[]): void {
  response.writeHead(200, { 'Content-Type': 'text/event-stream' });
  for (const event of events) response.write(`event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`);
  response.end();
}
