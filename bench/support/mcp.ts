import { Client } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import { join } from 'node:path';
import { ROOT } from '../../test/support/home.ts';

/** Parts of a tool's answer. */
export interface ToolAnswer {
  readonly structured: unknown;
  readonly text: string;
  /** Blocks of content that are not text, such as links. */
  readonly others: readonly unknown[];
}

/** The real MCP server as a process, with a client on its streams. */
export interface StdioServer extends AsyncDisposable {
  /** Returns the structured content. Rejects when the tool answers with an error. */
  call(name: string, args: Readonly<Record<string, unknown>>): Promise<unknown>;
  /** Returns all parts of the answer. Rejects when it is an error. */
  answer(name: string, args: Readonly<Record<string, unknown>>): Promise<ToolAnswer>;
}

export async function connectStdio(dataDir: string, flags: readonly string[] = []): Promise<StdioServer> {
  const client = new Client({ name: 'bench', version: '0' });
  const args = [join(ROOT, 'bin/contree-mcp'), '--data-dir', dataDir, ...flags];
  await client.connect(new StdioClientTransport({ command: process.execPath, args, stderr: 'ignore' }));
  const answer: StdioServer['answer'] = async (name, given) => {
    const result = await client.callTool({ name, arguments: { ...given } });
    if (result.isError === true) throw new Error(JSON.stringify(result.content));
    const texts = result.content.flatMap((block) => (block.type === 'text' ? [block.text] : []));
    const others = result.content.filter(({ type }) => type !== 'text');
    return { structured: result.structuredContent, text: texts.join('\n'), others };
  };
  return {
    answer,
    call: async (name, given) => (await answer(name, given)).structured,
    [Symbol.asyncDispose]: () => client.close(),
  };
}
