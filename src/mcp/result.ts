import type { CallToolResult } from '@modelcontextprotocol/server';
import type { Reply } from '../tools/index.ts';

/** A tool's reply as the protocol has it. */
export function resultOf(reply: Reply): CallToolResult {
  const text = { type: 'text' as const, text: reply.text };
  // Not as structured content: clients of the first SDK hold that against the output schema even of an error.
  if (!reply.ok) return { isError: true, content: [text], _meta: { 'contree/error': reply.fault.toJSON() } };
  const links = reply.links.map((link) => ({ type: 'resource_link' as const, ...link }));
  return { content: [text, ...links], structuredContent: reply.structured };
}
