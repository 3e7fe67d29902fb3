import { row } from './classes.ts';

/** Returns the image before a failed step, from the message of its BUILD_FAILED. */
export function imageBefore(message: string): string | undefined {
  return /; the image before it is (?<image>[0-9a-f-]{36})(?:\n|$)/u.exec(message)?.groups?.['image'];
}

/** Faults of builds from Dockerfiles. */
export const BUILD_ERRORS = {
  DOCKERFILE_INVALID: row<{ line: number; reason: string }>({
    class: 'invalid',
    message: ({ line, reason }) => `line ${line} of the Dockerfile: ${reason}`,
    hint: 'Correct that line of the Dockerfile.',
  }),
  BUILD_FAILED: row<{ line: number; instruction: string; reason: string; image: string; output?: string }>({
    class: 'invalid',
    message: ({ line, instruction, reason, image, output = '' }) =>
      `line ${line} of the Dockerfile: ${instruction}: ${reason}; the image before it is ${image}${output && `\n${output}`}`,
    hint: 'Find the reason in that image with "contree open IMAGE" or "contree run IMAGE", then build again: steps that succeeded are reused.',
  }),
  BUILD_FILE_NOT_FOUND: row<{ path: string }>({
    class: 'missing',
    message: ({ path }) => `${JSON.stringify(path)} is not in the context of the build`,
    hint: 'Name the Dockerfile by its path in the context, or send its text.',
  }),
} as const;
