/** Words that open a compound command where a command may begin, with the word that closes it. */
const OPENING: Readonly<Record<string, string>> = {
  if: 'fi',
  for: 'done',
  while: 'done',
  until: 'done',
  select: 'done',
  case: 'esac',
  '{': '}',
};
const CLOSING = new Set(Object.values(OPENING));
/** Words after which another command may begin. */
const BETWEEN = new Set(['then', 'do', 'else', 'elif', '!', 'time']);

const WORD = /(?:\\[^]|[^\s\\'"`$()|&;<>])+/uy;
const HEREDOC = /<<(-?)[ \t]*(?:'([^'\n]*)'|"([^"\n]*)"|\\?([^\s'"\\|&;()<>]+))/uy;

/**
 * Reports whether a shell could execute the text as it stands: no quote, here-document, compound command or
 * continuation is open. Text that is wrong in another way counts as complete, so that the shell reports it.
 */
export function isComplete(text: string): boolean {
  return new Reader(text).read();
}

/** One pass over the text that keeps what is still open. */
class Reader {
  readonly #text: string;
  #at = 0;
  /** Closers of what is open, innermost last: words, `)`, `"`, the backquote, and `${` for the end of an expansion. */
  readonly #open: string[] = [];
  /** Delimiters of the here-documents that begin at the next line break. */
  #heredocs: { readonly word: string; readonly tabs: boolean }[] = [];
  /** True where a command may begin, so that words such as `if` are reserved. */
  #command = true;
  /** True after `|`, `&&`, `||` and a backslash at the end: the next line belongs to it. */
  #continues = false;

  constructor(text: string) {
    this.#text = text;
  }

  read(): boolean {
    while (this.#at < this.#text.length) {
      if (!this.#step(this.#text[this.#at] ?? '')) return false;
    }
    return this.#open.length === 0 && this.#heredocs.length === 0 && !this.#continues;
  }

  /** Reads the next piece. Returns false when the text ends within it. */
  #step(next: string): boolean {
    if (next === '\\') return this.#escape();
    if (this.#open.at(-1) === '"') return this.#quoted(next);
    switch (next) {
      case "'":
        return this.#single();
      case '"':
      case '`':
        return this.#toggle(next);
      case '$':
        return this.#expansion();
      case '\n':
        return this.#lineBreak();
      case ' ':
      case '\t':
        return this.#skip(1);
      case '#':
        return this.#comment();
      default:
        return '()|&;<>'.includes(next) ? this.#operator(next) : this.#word();
    }
  }

  #skip(characters: number): boolean {
    this.#at += characters;
    return true;
  }

  #comment(): boolean {
    if (this.#open.at(-1) === '${') return this.#skip(1);
    const end = this.#text.indexOf('\n', this.#at);
    return this.#skip(end === -1 ? this.#text.length - this.#at : end - this.#at);
  }

  #escape(): boolean {
    const rest = this.#text.slice(this.#at + 1);
    if (rest === '' || rest === '\n') return false;
    if (!rest.startsWith('\n')) this.#begun();
    return this.#skip(2);
  }

  #quoted(next: string): boolean {
    if (next === '"' || next === '`') return this.#toggle(next);
    return next === '$' ? this.#expansion() : this.#skip(1);
  }

  #single(): boolean {
    const end = this.#text.indexOf("'", this.#at + 1);
    this.#begun();
    return end !== -1 && this.#skip(end + 1 - this.#at);
  }

  #toggle(quote: string): boolean {
    if (this.#open.at(-1) === quote) this.#open.pop();
    else this.#open.push(quote);
    this.#begun();
    this.#command = quote === '`' && this.#open.at(-1) === quote;
    return this.#skip(1);
  }

  #expansion(): boolean {
    const opened = this.#text[this.#at + 1];
    this.#begun();
    if (opened !== '(' && opened !== '{') return this.#skip(opened === '#' ? 2 : 1);
    this.#open.push(opened === '(' ? ')' : '${');
    this.#command = opened === '(';
    return this.#skip(2);
  }

  #lineBreak(): boolean {
    this.#at += 1;
    this.#command = true;
    for (const { word, tabs } of this.#heredocs.splice(0)) {
      const lines = this.#text.slice(this.#at).split('\n');
      const end = lines.findIndex((line) => (tabs ? line.replace(/^\t+/u, '') : line) === word);
      if (end === -1) return false;
      this.#at += lines.slice(0, end + 1).join('\n').length + 1;
    }
    return true;
  }

  #operator(next: string): boolean {
    HEREDOC.lastIndex = this.#at;
    const [all, dash, single, double, bare] =
      (!this.#text.startsWith('<<<', this.#at) && HEREDOC.exec(this.#text)) || [];
    if (all !== undefined) {
      this.#heredocs.push({ word: single ?? double ?? bare ?? '', tabs: dash === '-' });
      return this.#skip(all.length);
    }
    if (next === '(') this.#open.push(')');
    if (next === ')' && this.#open.at(-1) === ')') this.#open.pop();
    const pair = this.#text.slice(this.#at, this.#at + 2);
    const isPair = pair === '&&' || pair === '||';
    const redirects = next === '<' || next === '>' || pair === '&>';
    this.#continues = isPair || next === '|';
    this.#command = !redirects;
    if (this.#text.startsWith('<<<', this.#at)) return this.#skip(3);
    return this.#skip(isPair || ['>&', '<&', '>|', '&>'].includes(pair) ? 2 : 1);
  }

  #word(): boolean {
    WORD.lastIndex = this.#at;
    const word = WORD.exec(this.#text)?.[0] ?? this.#text[this.#at] ?? '';
    if (this.#open.at(-1) === '${') return this.#inExpansion(word);
    const reserved = this.#command;
    this.#begun();
    if (reserved && OPENING[word] !== undefined) this.#open.push(OPENING[word]);
    if (reserved && CLOSING.has(word) && this.#open.at(-1) === word) this.#open.pop();
    this.#command = reserved && (BETWEEN.has(word) || ['if', 'while', 'until', '{'].includes(word));
    return this.#skip(word.length);
  }

  #inExpansion(word: string): boolean {
    const end = word.indexOf('}');
    if (end !== -1) this.#open.pop();
    return this.#skip(end === -1 ? word.length : end + 1);
  }

  /** Notes that a command goes on: what was continued has its next part. */
  #begun(): void {
    this.#continues = false;
    this.#command = false;
  }
}
