/** One simple command: its unexpanded words, and the destination of its output. */
export interface SimpleCommand {
  readonly words: readonly string[];
  readonly redirects: readonly { readonly operator: string; readonly target: string }[];
  /** Condition for running it: always, or only after success or failure of the previous command. */
  readonly when: 'always' | 'success' | 'failure';
  /** True for a background command. */
  readonly background: boolean;
}

const TOKEN =
  /\s*(?:(?<operator>&&|\|\||;|&|\n|2>&1|>&2|1>&2|2>>|2>|>>|>|<)|(?<word>(?:'[^']*'|"(?:[^"\\]|\\.)*"|\\.|[^\s'"\\;&|<>])+))/uy;
const SEPARATORS = new Set(['&&', '||', ';', '&', '\n']);
const BARE_REDIRECTS = new Set(['2>&1', '>&2', '1>&2']);

/** Parses the subset of shell that the fake guest supports; undefined for anything else. */
export function parseScript(script: string): SimpleCommand[] | undefined {
  const tokens = tokenize(script);
  if (tokens === undefined) return undefined;
  const commands: SimpleCommand[] = [];
  let when: SimpleCommand['when'] = 'always';
  let words: string[] = [];
  let redirects: { operator: string; target: string }[] = [];
  for (let at = 0; at <= tokens.length; at += 1) {
    const token = tokens[at] ?? { text: ';', operator: true };
    if (!token.operator) words.push(token.text);
    else if (SEPARATORS.has(token.text)) {
      if (words.length > 0) commands.push({ words, redirects, when, background: token.text === '&' });
      if (words.length > 0 || token.text !== '\n') when = whenAfter(token.text);
      [words, redirects] = [[], []];
    } else {
      const target = BARE_REDIRECTS.has(token.text) ? '' : tokens[(at += 1)]?.text;
      if (target === undefined) return undefined;
      redirects.push({ operator: token.text, target });
    }
  }
  return commands;
}

function whenAfter(separator: string): SimpleCommand['when'] {
  if (separator === '&&') return 'success';
  return separator === '||' ? 'failure' : 'always';
}

function tokenize(script: string): { readonly text: string; readonly operator: boolean }[] | undefined {
  const tokens: { text: string; operator: boolean }[] = [];
  const source = script.trim().replaceAll(/[ \t]*\n\s*/gu, ' ; ');
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < source.length) {
    const { groups } = TOKEN.exec(source) ?? {};
    if (groups === undefined) return undefined;
    const { operator, word } = groups;
    tokens.push(operator === undefined ? { text: word ?? '', operator: false } : { text: operator, operator: true });
  }
  return tokens;
}

const PART = /'(?<single>[^']*)'|"(?<double>(?:[^"\\]|\\.)*)"|\\(?<escaped>.)|(?<plain>[^'"\\]+)/gsu;
const VARIABLE = /\$(?:\{(\w+)\}|(\w+|\$))/gu;

/** Removes quotes and expands variables. */
export function expand(word: string, lookup: (name: string) => string): string {
  const filled = (text: string): string =>
    text.replaceAll(VARIABLE, (_, braced?: string, bare?: string) => lookup(braced ?? bare ?? ''));
  let result = '';
  for (const { groups } of word.matchAll(PART)) {
    const { single, double, escaped, plain } = groups ?? {};
    result += single ?? escaped ?? filled((double ?? plain ?? '').replaceAll(/\\(["\\$])/gu, '$1'));
  }
  return result;
}
