import { row } from './classes.ts';

/** Units of the quotas of a project, as a message names them. */
const UNITS = { runs: 'runs at the same time', cpus: 'cores', memoryMib: 'MiB of memory', storage: 'bytes of storage' };

/** Rows of the error table about projects. */
export const PROJECT_ERRORS = {
  PROJECT_INVALID: row<{ project: string }>({
    class: 'invalid',
    message: ({ project }) => `${JSON.stringify(project)} is not the name of a project`,
    hint: 'Use 1 to 64 of a-z 0-9 . _ - that begin with a letter or digit.',
  }),
  QUOTA_EXCEEDED: row<{ project: string; what: string; limit: number; used: number; asked?: number }>({
    class: 'exhausted',
    http: 403,
    retry: 'after a change',
    message: ({ project, what, limit, used, asked }) => {
      const unit = (UNITS as Readonly<Record<string, string>>)[what] ?? what;
      const parts = [
        ...(used > 0 ? [`${used} are in use`] : []),
        ...(asked === undefined ? [] : [`${asked} were asked for`]),
      ];
      return `the quota of project ${project} is ${limit} ${unit}: ${parts.join(' and ')}`;
    },
    hint: 'Free what the project does not need ("contree usage" shows it; "contree rm", "contree close"), or have the operator raise the quota ("contree project set").',
  }),
} as const;
