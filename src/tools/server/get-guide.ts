import { z } from 'zod';
import { GUIDES, GUIDE_SECTIONS } from '../guides/index.ts';
import { hiddenFromClients } from '../support/schema.ts';
import { defineTool } from '../support/tool.ts';

export const getGuide = defineTool({
  name: 'get_guide',
  title: 'Read a guide',
  description: 'Free. How to work well with ConTree: start with workflow.',
  cost: 'free',
  effect: 'reads',
  openWorld: false,
  offline: true,
  input: z.object({ section: z.enum(GUIDE_SECTIONS).default('workflow') }),
  output: z.object({
    section: hiddenFromClients(z.string()),
    content: z.string(),
    available_sections: hiddenFromClients(z.array(z.string())),
  }),
  handle: async (_call, { section }) => ({
    section,
    content: GUIDES[section].text,
    available_sections: [...GUIDE_SECTIONS],
  }),
  text: ({ content }) => content,
});
