import { dockerfileFault } from './faults.ts';
import { isSpace } from './words.ts';

/** A here-document of RUN, COPY or ADD. */
export interface Heredoc {
  /** Name without quotes; the file name where a file is made of it. */
  readonly name: string;
  /** True for `<<-`: leading tabs of its lines are dropped. */
  readonly chomp: boolean;
  /** True unless a part of the name is quoted: variables in the content are substituted. */
  readonly expand: boolean;
  /** File descriptor before `<<`; undefined for standard input. */
  readonly descriptor: number | undefined;
  /** Lines with their line breaks. */
  readonly content: string;
}

const MARK = /^(?<descriptor>\d{0,5})<<(?<chomp>-?)[ \t]*/u;
const HEREDOCS_MAX = 100;

/** Returns the here-documents that a line announces, without their content. Quoted text announces none. */
export function heredocsOf(text: string, line: number): Heredoc[] {
  if (!text.includes('<<') || text.startsWith('[')) return [];
  const found: Heredoc[] = [];
  for (let at = 0; at < text.length;) {
    const first = text[at] ?? '';
    if (isSpace(first)) {
      at += 1;
      continue;
    }
    const mark = first === '<' || (first >= '0' && first <= '9') ? MARK.exec(text.slice(at, at + 1_000)) : null;
    const start = at + (mark?.[0].length ?? 0);
    const { end, quote } = wordEnd(text, start);
    if (mark !== null) {
      if (quote !== '') throw dockerfileFault(line, `the name of a here-document lacks the ${quote} at its end`);
      const heredoc = heredocOf(text.slice(start, end), mark);
      if (heredoc !== undefined) found.push(heredoc);
    }
    at = Math.max(end, at + 1);
    if (found.length > HEREDOCS_MAX) throw dockerfileFault(line, `there are more than ${HEREDOCS_MAX} here-documents`);
  }
  return found;
}

/** Reports the here-document that one word of COPY or ADD stands for, if any. */
export function heredocWord(word: string, heredocs: readonly Heredoc[], line: number): Heredoc | undefined {
  const [announced] = heredocsOf(word, line);
  return announced && heredocs.find(({ name }) => name === announced.name);
}

/** Returns the content as it is used: without leading tabs where the mark is `<<-`. */
export function contentOf({ content, chomp }: Heredoc): string {
  return chomp ? content.replaceAll(/^\t+/gmu, '') : content;
}

function heredocOf(word: string, mark: RegExpExecArray): Heredoc | undefined {
  if (word === '' || word.includes('<')) return undefined;
  const { descriptor = '', chomp = '' } = mark.groups ?? {};
  const unquoted = unquote(word);
  return {
    name: unquoted.text,
    chomp: chomp === '-',
    expand: !unquoted.quoted,
    descriptor: descriptor === '' ? undefined : Number(descriptor),
    content: '',
  };
}

/** Returns the end of the word at `start`, which is the next space outside of quotes, and the quote that is open there. */
function wordEnd(text: string, start: number): { readonly end: number; readonly quote: string } {
  let quote = '';
  for (let at = start; at < text.length; at += 1) {
    const character = text[at] ?? '';
    if (character === '\\' && quote !== "'") at += 1;
    else if (quote !== '') quote = character === quote ? '' : quote;
    else if (character === '"' || character === "'") quote = character;
    else if (isSpace(character)) return { end: at, quote };
  }
  return { end: text.length, quote };
}

function unquote(word: string): { readonly text: string; readonly quoted: boolean } {
  let text = '';
  let quote = '';
  let quoted = false;
  for (let at = 0; at < word.length; at += 1) {
    const character = word[at] ?? '';
    if (character === '\\' && quote !== "'") {
      at += 1;
      text += word[at] ?? '';
    } else if (quote !== '' && character === quote) quote = '';
    else if (quote === '' && (character === '"' || character === "'")) [quote, quoted] = [character, true];
    else text += character;
  }
  return { text, quoted };
}
