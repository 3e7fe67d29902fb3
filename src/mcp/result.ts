import type { CallToolResult } from '@modelcontextprotocol/server';
import type { Reply } from '../tools/index.ts';

/** Converts a tool's reply to the protocol's result. */
export function resultOf(reply: Reply): CallToolResult {
  const text = { type: 'text' as const, text: reply.text };
  // Not as structured content: clients of the first SDK validate that against the output schema even for an error.
  if (!reply.ok) return { isError: true, content: [text], _meta: { 'contree/error': reply.fault.toJSON() } };
  const links = reply.links.map((link) => ({ type: 'resource_link' as const, ...link }));
  return { content: [text, ...links], structuredContent: reply.structured };
}
