import { z } from 'zod';
import { GUIDE_SECTIONS, guideText } from '../guides/index.ts';
import { withProgram } from '../support/text.ts';
import { defineTool } from '../support/tool.ts';

export const getGuide = defineTool({
  name: 'get_guide',
  title: 'Read a guide',
  description: 'Free. How to work well with ConTree.',
  cost: 'free',
  effect: 'reads',
  openWorld: false,
  offline: true,
  input: z.object({ section: z.enum(GUIDE_SECTIONS).default('workflow') }),
  output: z.object({ content: z.string() }),
  handle: async ({ missingTools, program }, { section }) => ({
    content: withProgram(guideText(section, missingTools), program),
  }),
  text: ({ content }) => content,
});
