import {
  ProtocolError,
  ProtocolErrorCode,
  ResourceNotFoundError,
  ResourceTemplate,
  type CompleteResourceTemplateCallback,
  type ReadResourceResult,
  type ServerContext,
} from '@modelcontextprotocol/server';
import { isFinished } from '../contract/operation-state.ts';
import { isUuid } from '../contract/names.ts';
import { limits } from '../contract/limits.ts';
import type { ConTree } from '../contract/contree.ts';
import { collect } from '../std/bytes.ts';
import { present } from '../std/present.ts';
import {
  cutOutput,
  GUIDE_SECTIONS,
  GUIDES,
  guideText,
  guideUri,
  isBinary,
  readOutput,
  summarize,
} from '../tools/index.ts';
import { decode, type Completions } from './completion.ts';
import { protocolError, type Asked } from './replies.ts';
import type { McpSession } from './session.ts';
import { mediaTypeOf } from '../std/media-type.ts';

const DAY_MS = 86_400_000;
const RESOURCE_BYTES_MAX = 1024 * 1024;
const FOREVER = { ttlMs: DAY_MS, cacheScope: 'private' } as const;
const NEVER = { ttlMs: 0, cacheScope: 'private' } as const;

type Variables = Readonly<Record<string, string>>;
interface Content {
  readonly mimeType: string;
  readonly body: string | Buffer;
  /** True when the URI always returns the same bytes. */
  readonly fixed: boolean;
}

/** Resource template: `contree://…` with variables, its description, and its reader. */
interface Template {
  readonly name: string;
  readonly title: string;
  readonly template: string;
  readonly description: string;
  readonly mimeType?: string;
  readonly read: (contree: ConTree, variables: Variables, signal: AbortSignal) => Promise<Content>;
}

const FAMILIES: readonly Template[] = [
  {
    name: 'image',
    title: 'Image',
    template: 'contree://image/{image}',
    description: 'An image: UUID, tags, parent, time. {image} is a UUID or a percent-encoded tag:NAME.',
    mimeType: 'application/json',
    // Its tags may change.
    read: async (contree, { image = '' }, signal) => json(await contree.images.get(image, signal)),
  },
  {
    name: 'lineage',
    title: 'Lineage of an image',
    template: 'contree://image/{image}/lineage',
    description: 'Ancestors and children of an image with the command of each step.',
    mimeType: 'application/json',
    read: async (contree, { image = '' }, signal) => json(await contree.images.lineage(image, signal)),
  },
  {
    name: 'diff',
    title: 'Changes between two images',
    template: 'contree://image/{image}/diff/{other}',
    description: 'What {other} has added, removed and modified, as the tool diff says it.',
    mimeType: 'application/json',
    read: async (contree, { image = '', other = '' }, signal) =>
      json(await contree.images.diff(image, { to: other, limit: limits.pageMax }, signal), {
        fixed: isUuid(image) && isUuid(other),
      }),
  },
  {
    name: 'list-root',
    title: 'Root directory of an image',
    template: 'contree://image/{image}/ls',
    description: 'Entries of the root directory.',
    mimeType: 'application/json',
    read: async (contree, { image = '' }, signal) => await listing(contree, image, '/', signal),
  },
  {
    name: 'list',
    title: 'Directory of an image',
    template: 'contree://image/{image}/ls/{+path}',
    description: 'Entries of a directory; {path} without the leading slash.',
    mimeType: 'application/json',
    read: async (contree, { image = '', path = '' }, signal) => await listing(contree, image, `/${path}`, signal),
  },
  {
    name: 'read',
    title: 'File of an image',
    template: 'contree://image/{image}/read/{+path}',
    description: 'Content of a file up to 1 MiB; {path} without the leading slash.',
    read: readFile,
  },
  {
    name: 'run-stream',
    title: 'Output of a run',
    template: 'contree://operations/instance/{operation_id}/{stream}',
    description: 'stdout or stderr of a run, up to 1 MiB from the end.',
    mimeType: 'text/plain',
    read: readStream,
  },
  {
    name: 'run',
    title: 'Run',
    template: 'contree://operations/instance/{operation_id}',
    description: 'State and result of a run.',
    mimeType: 'application/json',
    read: readOperation,
  },
  {
    name: 'import',
    title: 'Import',
    template: 'contree://operations/import/{operation_id}',
    description: 'State and result of an import.',
    mimeType: 'application/json',
    read: readOperation,
  },
];

/**
 * Registers guides as resources and everything else as templates: listing resources at start must not need the engine.
 */
export function registerResources(session: McpSession, completions: Completions): void {
  const { server, context, request } = session;
  for (const section of GUIDE_SECTIONS) {
    const { title } = GUIDES[section];
    const text = guideText(section, context.missingTools);
    const uri = guideUri(section);
    const about = {
      title,
      mimeType: 'text/markdown',
      annotations: { audience: ['assistant' as const], priority: 0.5 },
    };
    const cacheHint = { ttlMs: DAY_MS, cacheScope: 'public' } as const;
    server.registerResource(`guide-${section}`, uri, { ...about, cacheHint }, () => ({
      contents: [{ uri, mimeType: 'text/markdown', text }],
    }));
  }
  for (const { name, title, template, description, mimeType, read } of FAMILIES) {
    const complete = completersFor(template, completions);
    server.registerResource(
      name,
      new ResourceTemplate(template, { list: undefined, complete }),
      present({ title, description, mimeType }),
      async (uri: URL, variables, { mcpReq: { signal } }: ServerContext) => {
        const chosen = Object.fromEntries(
          Object.entries(variables).map(([key, value]) => [key, decode(String(value))]),
        );
        const asked = { method: 'resources/read', signal, log: (line: string) => context.log(line) };
        return await asResource(
          uri.href,
          asked,
          async () => await read(await context.contree(request), chosen, signal),
        );
      },
    );
  }
}

function completersFor(
  template: string,
  { image, operation, path }: Completions,
): Record<string, CompleteResourceTemplateCallback> {
  return {
    ...(template.includes('{image}') && { image }),
    ...(template.includes('{other}') && { other: image }),
    ...(template.includes('{+path}') && { path }),
    ...(template.includes('{operation_id}') && { operation_id: operation }),
    ...(template.includes('{stream}') && {
      stream: (value) => ['stdout', 'stderr'].filter((name) => name.startsWith(value)),
    }),
  };
}

async function asResource(uri: string, asked: Asked, read: () => Promise<Content>): Promise<ReadResourceResult> {
  try {
    const { mimeType, body, fixed } = await read();
    const content = typeof body === 'string' ? { text: body } : { blob: body.toString('base64') };
    return { contents: [{ uri, mimeType, ...content }], ...(fixed ? FOREVER : NEVER) };
  } catch (error) {
    throw protocolError(error, asked, (fault, text) =>
      fault.class === 'missing' ? new ResourceNotFoundError(uri, text) : undefined,
    );
  }
}

function json(value: unknown, { fixed = false } = {}): Content {
  return { mimeType: 'application/json', body: JSON.stringify(value, undefined, 1), fixed };
}

async function listing(contree: ConTree, image: string, path: string, signal: AbortSignal): Promise<Content> {
  return json(await contree.files.list(image, { path }, signal), { fixed: isUuid(image) });
}

async function readFile(contree: ConTree, { image = '', path = '' }: Variables, signal: AbortSignal): Promise<Content> {
  const { size, body } = await contree.files.read(image, { path: `/${path}`, length: RESOURCE_BYTES_MAX }, signal);
  if (size > RESOURCE_BYTES_MAX) {
    const advice = `Call download(image="${image}", path=${JSON.stringify(`/${path}`)}, destination=…) or read_file with offset.`;
    throw new ProtocolError(
      ProtocolErrorCode.InvalidParams,
      `/${path} has ${size} bytes, too many for a resource.\n${advice}`,
    );
  }
  const bytes = await collect(body, RESOURCE_BYTES_MAX);
  const text = !isBinary(bytes) && Buffer.from(bytes.toString('utf8')).equals(bytes);
  return {
    mimeType: mediaTypeOf(path) ?? (text ? 'text/plain' : 'application/octet-stream'),
    body: text ? bytes.toString('utf8') : bytes,
    fixed: isUuid(image),
  };
}

async function readOperation(
  contree: ConTree,
  { operation_id: id = '' }: Variables,
  signal: AbortSignal,
): Promise<Content> {
  const outputBytesMax = limits.toolOutputBytesDefault;
  const operation = await contree.operations.get(id, { output_bytes: outputBytesMax }, signal);
  return json(await summarize(operation, { contree, outputBytesMax, signal }), { fixed: isFinished(operation.status) });
}

async function readStream(
  contree: ConTree,
  { operation_id: id = '', stream = '' }: Variables,
  signal: AbortSignal,
): Promise<Content> {
  if (stream !== 'stdout' && stream !== 'stderr') {
    throw new ProtocolError(
      ProtocolErrorCode.InvalidParams,
      `a run has stdout and stderr, no ${JSON.stringify(stream)}`,
    );
  }
  const { status } = await contree.operations.get(id, { output_bytes: 0 }, signal);
  const kept = await readOutput(contree, { operation: id }, stream, signal);
  const { bytes } = cutOutput(kept, -RESOURCE_BYTES_MAX, RESOURCE_BYTES_MAX);
  const text = !isBinary(bytes);
  return {
    mimeType: text ? 'text/plain' : 'application/octet-stream',
    body: text ? bytes.toString('utf8') : bytes,
    fixed: isFinished(status),
  };
}
