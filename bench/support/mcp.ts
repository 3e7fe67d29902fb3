import { Client } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import { join } from 'node:path';
import { ROOT } from '../../test/support/home.ts';

/** The real MCP server as a process, with a client on its streams. */
export interface StdioServer extends AsyncDisposable {
  /** Rejects when the tool answers with an error. */
  call(name: string, args: Readonly<Record<string, unknown>>): Promise<unknown>;
}

export async function connectStdio(dataDir: string, flags: readonly string[] = []): Promise<StdioServer> {
  const client = new Client({ name: 'bench', version: '0' });
  const args = [join(ROOT, 'bin/contree-mcp'), '--data-dir', dataDir, ...flags];
  await client.connect(new StdioClientTransport({ command: process.execPath, args, stderr: 'ignore' }));
  return {
    call: async (name, given) => {
      const result = await client.callTool({ name, arguments: { ...given } });
      if (result.isError === true) throw new Error(JSON.stringify(result.content));
      return result.structuredContent;
    },
    [Symbol.asyncDispose]: () => client.close(),
  };
}
