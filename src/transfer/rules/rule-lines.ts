import { systemCode } from '../folder.ts';
import { NotRegular, OpenFile } from '../open-file.ts';

/** Returns the lines of a file with rules that `open` opens; none when it is not a regular file that can be read. */
export function ruleLines(open: () => number): readonly string[] {
  try {
    using file = new OpenFile(open());
    return Buffer.from(file.head()).toString('utf8').split(/\r?\n/u);
  } catch (error) {
    if (error instanceof NotRegular || systemCode(error) !== undefined) return [];
    throw error;
  }
}
