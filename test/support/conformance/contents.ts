import {
  fromJsonSchema,
  ResourceTemplate,
  type CallToolResult,
  type GetPromptResult,
  type McpServer,
  type ServerContext,
} from '@modelcontextprotocol/server';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';

/** Fixtures that the conformance suite expects of a server: fixed answers under fixed names. */

/** One pixel. */
const PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
/** A WAV header and no samples. */
const WAV = 'UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA=';
/** Minimum interval at which the suite expects the next step. */
const STEP_MS = 50;

const image = { type: 'image', data: PNG, mimeType: 'image/png' } as const;

export function text(value: string): CallToolResult {
  return { content: [{ type: 'text', text: value }] };
}

const embedded = (uri: string, mimeType: string, value: string) =>
  ({ type: 'resource', resource: { uri, mimeType, text: value } }) as const;

const TOOLS: Readonly<Record<string, CallToolResult>> = {
  test_simple_text: text('This is a simple text response for testing.'),
  test_image_content: { content: [image] },
  test_audio_content: { content: [{ type: 'audio', data: WAV, mimeType: 'audio/wav' }] },
  test_embedded_resource: {
    content: [embedded('test://embedded-resource', 'text/plain', 'This is an embedded resource content.')],
  },
  test_multiple_content_types: {
    content: [
      { type: 'text', text: 'Multiple content types test:' },
      image,
      embedded('test://mixed-content-resource', 'application/json', '{"test":"data","value":123}'),
    ],
  },
};

/** Keywords of JSON Schema 2020-12 that a server must pass on unchanged (SEP-1613, SEP-2106). */
const SCHEMA_2020_12 = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  type: 'object',
  $defs: {
    address: {
      $anchor: 'addressDef',
      type: 'object',
      properties: { street: { type: 'string' }, city: { type: 'string' } },
    },
  },
  properties: {
    name: { type: 'string' },
    address: { $ref: '#/$defs/address' },
    contactMethod: { type: 'string', enum: ['phone', 'email'] },
    phone: { type: 'string' },
    email: { type: 'string' },
  },
  allOf: [{ anyOf: [{ required: ['phone'] }, { required: ['email'] }] }],
  if: { properties: { contactMethod: { const: 'phone' } }, required: ['contactMethod'] },
  // oxlint-disable-next-line unicorn/no-thenable -- a keyword of JSON Schema
  then: { required: ['phone'] },
  else: { required: ['email'] },
  additionalProperties: false,
} as const;

/** A parameter that clients repeat in the header `Mcp-Param-Region` (SEP-2243). */
const HEADER_SCHEMA = {
  type: 'object',
  properties: { region: { type: 'string', 'x-mcp-header': 'Region' } },
  required: ['region'],
} as const;

export function registerContents(server: McpServer): void {
  for (const [name, result] of Object.entries(TOOLS)) server.registerTool(name, { description: name }, () => result);
  server.registerTool('test_error_handling', { description: 'fails' }, () => {
    throw new Error('This tool intentionally returns an error for testing');
  });
  server.registerTool('test_tool_with_progress', { description: 'three steps' }, progress);
  server.registerTool('test_tool_with_logging', { description: 'three lines' }, log);
  server.registerTool('test_logging_tool', { description: 'three lines' }, log);
  server.registerTool(
    'json_schema_2020_12_tool',
    { description: 'keywords of JSON Schema 2020-12', inputSchema: fromJsonSchema(SCHEMA_2020_12) },
    () => text('ok'),
  );
  server.registerTool(
    'test_custom_header',
    { description: 'a parameter that is also a header', inputSchema: fromJsonSchema(HEADER_SCHEMA) },
    () => text('ok'),
  );
  registerResources(server);
  registerPrompts(server);
}

async function progress(request: ServerContext): Promise<CallToolResult> {
  const { notify, _meta: meta } = request.mcpReq;
  const progressToken = meta?.progressToken;
  for (const done of [0, 50, 100]) {
    if (progressToken !== undefined) {
      await notify({ method: 'notifications/progress', params: { progressToken, progress: done, total: 100 } });
    }
    // The suite requires an interval.
    await delay(STEP_MS);
  }
  return text('three steps');
}

async function log({ mcpReq }: ServerContext): Promise<CallToolResult> {
  for (const line of ['Tool execution started', 'Tool processing data', 'Tool execution completed']) {
    await mcpReq.log('info', line);
    // The suite requires an interval.
    await delay(STEP_MS);
  }
  return text('three lines');
}

function registerResources(server: McpServer): void {
  const contents = { description: 'fixed content' };
  server.registerResource('static-text', 'test://static-text', { ...contents, mimeType: 'text/plain' }, ({ href }) => ({
    contents: [{ uri: href, mimeType: 'text/plain', text: 'This is the content of the static text resource.' }],
  }));
  server.registerResource('static-binary', 'test://static-binary', { ...contents, mimeType: 'image/png' }, (uri) => ({
    contents: [{ uri: uri.href, mimeType: 'image/png', blob: PNG }],
  }));
  server.registerResource(
    'template',
    new ResourceTemplate('test://template/{id}/data', { list: undefined }),
    { ...contents, mimeType: 'application/json' },
    ({ href }, { id }) => ({
      contents: [
        {
          uri: href,
          mimeType: 'application/json',
          text: JSON.stringify({ id, templateTest: true, data: `Data for ID: ${String(id)}` }),
        },
      ],
    }),
  );
}

function registerPrompts(server: McpServer): void {
  const says = (...contents: readonly GetPromptResult['messages'][number]['content'][]): GetPromptResult => ({
    messages: contents.map((content) => ({ role: 'user', content })),
  });
  const line = (value: string) => ({ type: 'text', text: value }) as const;
  server.registerPrompt('test_simple_prompt', { description: 'one line' }, () =>
    says(line('This is a simple prompt for testing.')),
  );
  server.registerPrompt(
    'test_prompt_with_arguments',
    { description: 'two arguments', argsSchema: z.object({ arg1: z.string(), arg2: z.string() }) },
    ({ arg1, arg2 }) => says(line(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`)),
  );
  server.registerPrompt(
    'test_prompt_with_embedded_resource',
    { description: 'a resource', argsSchema: z.object({ resourceUri: z.string() }) },
    ({ resourceUri }) =>
      says(
        embedded(resourceUri, 'text/plain', 'Embedded resource content for testing.'),
        line('Please process the embedded resource above.'),
      ),
  );
  server.registerPrompt('test_prompt_with_image', { description: 'an image' }, () =>
    says(image, line('Please analyze the image above.')),
  );
}
