import { asyncGuide } from './async.ts';
import { errorsGuide } from './errors.ts';
import type { Guide } from './guide.ts';
import { quickstartGuide } from './quickstart.ts';
import { referenceGuide } from './reference.ts';
import { stateGuide } from './state.ts';
import { taggingGuide } from './tagging.ts';
import { workflowGuide } from './workflow.ts';

export type { Guide };

export const GUIDE_SECTIONS = ['workflow', 'reference', 'quickstart', 'state', 'async', 'tagging', 'errors'] as const;
export type GuideSection = (typeof GUIDE_SECTIONS)[number];

export const GUIDES: Readonly<Record<GuideSection, Guide>> = {
  workflow: workflowGuide,
  reference: referenceGuide,
  quickstart: quickstartGuide,
  state: stateGuide,
  async: asyncGuide,
  tagging: taggingGuide,
  errors: errorsGuide,
};
