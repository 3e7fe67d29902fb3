/** Log of the engine for operators. `fields` must never contain secrets or file contents. */
export interface EngineLog {
  info(fields: Readonly<Record<string, unknown>>, message: string): void;
  warn(fields: Readonly<Record<string, unknown>>, message: string): void;
  error(fields: Readonly<Record<string, unknown>>, message: string): void;
}

export const SILENT_LOG: EngineLog = { info: () => {}, warn: () => {}, error: () => {} };
