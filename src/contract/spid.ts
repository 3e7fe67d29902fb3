/** Process ids of the event log: 0 is the init daemon, 1 the main process, 2 and up are subprocesses. */
export const SPID_INIT = 0;
export const SPID_MAIN = 1;
