export { createMcpHttp, type McpHttp, type McpHttpOptions } from './http.ts';
export type { Connect, McpOptions } from './options.ts';
export { serveMcpStdio } from './stdio.ts';
