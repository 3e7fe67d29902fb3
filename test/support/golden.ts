import { join } from 'node:path';
import { annotationsOf, jsonSchemaOf, TOOLS } from '../../src/tools/index.ts';

export const TOOLS_FOLDER: string = join(import.meta.dirname, '../golden/tools');

/** Golden files by name: the tools as models see them. `npm run bless` writes them, a test compares. */
export function goldenTools(): ReadonlyMap<string, string> {
  return new Map(
    TOOLS.map((tool) => {
      const { name, title, description } = tool;
      const seen = {
        name,
        title,
        description,
        annotations: annotationsOf(tool),
        inputSchema: jsonSchemaOf(tool.input, 'input'),
        outputSchema: jsonSchemaOf(tool.output, 'output'),
      };
      return [`${name}.json`, `${JSON.stringify(seen, undefined, 2)}\n`];
    }),
  );
}
