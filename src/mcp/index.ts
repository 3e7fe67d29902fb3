export { createMcpHttp } from './http.ts';
export type { McpOptions } from './options.ts';
export { serveMcpStdio } from './stdio.ts';
