export { connect, type ConnectOptions, type RemoteServer } from './connect.ts';
export { inProcessContree, type ServerFetch } from './in-process.ts';
export type { HttpContree } from './http-contree.ts';
export { answers, engineLeft, type LocalEngineOptions } from './local/engine.ts';
