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

const PLACEHOLDERS =
  '`$image_uuid` and the like stand for that field of the latest answer that had it, so of different images.';

/** Returns the text of a guide with what it assumes: the tools that a server may not offer, and placeholders. */
export function guideText(section: GuideSection, missingTools: readonly string[] = []): string {
  const { text } = GUIDES[section];
  const missing = missingTools.filter((name) => new RegExp(`\\b${name}\\b`, 'u').test(text));
  const notes = [
    ...(missing.length > 0 ? [`This server does not offer ${missing.join(', ')}: leave those calls out.`] : []),
    ...(text.includes('$') ? [PLACEHOLDERS] : []),
  ];
  return [...notes, text].join('\n\n');
}

export const GUIDES: Readonly<Record<GuideSection, Guide>> = {
  workflow: workflowGuide,
  reference: referenceGuide,
  quickstart: quickstartGuide,
  state: stateGuide,
  async: asyncGuide,
  tagging: taggingGuide,
  errors: errorsGuide,
};
