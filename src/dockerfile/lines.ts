import { limits } from '../contract/limits.ts';
import { dockerfileFault } from './faults.ts';
import { type Heredoc, heredocsOf } from './heredoc.ts';
import { type Escape, splitFlags } from './words.ts';

/** One instruction as it is written, with its continuation lines joined. */
export interface RawInstruction {
  /** Line on which it begins, from 1. */
  readonly line: number;
  /** Upper case. */
  readonly keyword: string;
  /** `--name=value` before the arguments, without quotes. */
  readonly flags: readonly string[];
  /** Arguments. */
  readonly rest: string;
  readonly heredocs: readonly Heredoc[];
  /** Whole instruction, here-documents included. */
  readonly text: string;
}

/** A Dockerfile as instructions that are not interpreted yet. */
export interface DockerfileLines {
  readonly escape: Escape;
  readonly instructions: readonly RawInstruction[];
}

const DIRECTIVE = /^#[ \t]*(?<name>[A-Za-z][A-Za-z0-9]*)[ \t]*=[ \t]*(?<value>.*)$/u;
/** Frontends whose language is the one that is understood here. */
const FRONTEND = /^(?:docker\.io\/)?docker\/dockerfile(?:-upstream)?(?:[:@][\w.:-]+)?$/u;
const HEREDOC_KEYWORDS: ReadonlySet<string> = new Set(['RUN', 'COPY', 'ADD']);

/**
 * Splits a Dockerfile into instructions as BuildKit does: a line that ends in the escape character goes on in the next
 * one, comments and empty lines between them vanish, and here-documents are taken whole. Source of the rules: "Dockerfile
 * reference" of BuildKit. Faults: DOCKERFILE_INVALID.
 */
export function splitDockerfile(text: string): DockerfileLines {
  if (Buffer.byteLength(text) > limits.dockerfileBytesMax) {
    throw dockerfileFault(1, `the file is larger than ${limits.dockerfileBytesMax} bytes`);
  }
  if (text.includes('\0')) throw dockerfileFault(lineOf(text, text.indexOf('\0')), 'the line contains a NUL byte');
  const cursor = new LineCursor(text);
  const escape = readDirectives(cursor);
  const instructions: RawInstruction[] = [];
  for (let raw = readInstruction(cursor, escape); raw !== undefined; raw = readInstruction(cursor, escape)) {
    instructions.push(raw);
    if (instructions.length > limits.dockerfileInstructionsMax) {
      throw dockerfileFault(raw.line, `there are more than ${limits.dockerfileInstructionsMax} instructions`);
    }
  }
  return { escape, instructions };
}

/** Returns one instruction of a text that stands alone, such as an ONBUILD trigger; `line` is the one to report. */
export function splitTrigger(text: string, escape: Escape, line: number): RawInstruction {
  const cursor = new LineCursor(text);
  const raw = readInstruction(cursor, escape);
  if (raw === undefined || readInstruction(cursor, escape) !== undefined) {
    throw dockerfileFault(line, `the trigger ${JSON.stringify(text.slice(0, 80))} is not one instruction`);
  }
  return { ...raw, line };
}

/** Position in the lines of a file. */
class LineCursor {
  readonly #lines: readonly string[];
  /** Number of lines read. */
  at = 0;

  constructor(text: string) {
    this.#lines = text.replace(/^\uFEFF/u, '').split('\n');
  }

  /** Next line with its line break, if it has one. */
  next(): string | undefined {
    const line = this.#lines[this.at];
    if (line === undefined) return undefined;
    this.at += 1;
    return this.at < this.#lines.length ? `${line}\n` : line;
  }

  /** Goes past empty lines. */
  skipEmpty(): void {
    while (this.#lines[this.at] === '') this.at += 1;
  }

  back(): void {
    this.at -= 1;
  }
}

/** Reads the parser directives at the top of the file. */
function readDirectives(cursor: LineCursor): Escape {
  const seen = new Set<string>();
  let escape: Escape = '\\';
  for (let line = cursor.next(); line !== undefined; line = cursor.next()) {
    const { name = '', value = '' } = DIRECTIVE.exec(withoutBreak(line).trim())?.groups ?? {};
    const directive = name.toLowerCase();
    if (!['escape', 'syntax', 'check'].includes(directive)) {
      cursor.back();
      break;
    }
    if (seen.has(directive)) throw dockerfileFault(cursor.at, `the directive ${directive} is given twice`);
    seen.add(directive);
    const setting = value.trim();
    if (directive === 'syntax' && !FRONTEND.test(setting)) {
      throw dockerfileFault(
        cursor.at,
        `the syntax ${JSON.stringify(setting)} is another language than docker/dockerfile`,
      );
    }
    if (directive !== 'escape') continue;
    if (setting !== '\\' && setting !== '`') {
      throw dockerfileFault(cursor.at, `the escape character is ${JSON.stringify(setting)}, not \\ or \``);
    }
    escape = setting;
  }
  return escape;
}

function readInstruction(cursor: LineCursor, escape: Escape): RawInstruction | undefined {
  cursor.skipEmpty();
  for (let first = cursor.next(); first !== undefined; first = cursor.next()) {
    const line = cursor.at;
    const head = withoutBreak(first).trimStart();
    if (head === '' || head.startsWith('#')) continue;
    const joined = joinContinued(cursor, head, escape);
    if (joined.trim() !== '') return instructionOf(cursor, joined.trim(), line);
  }
  return undefined;
}

/** Appends the lines in which a line goes on. */
function joinContinued(cursor: LineCursor, head: string, escape: Escape): string {
  let part = continued(head, escape);
  const parts = [part ?? head];
  while (part !== undefined) {
    const next = cursor.next();
    if (next === undefined) break;
    const line = withoutBreak(next);
    const bare = line.trimStart();
    if (bare === '' || bare.startsWith('#')) continue;
    part = continued(line, escape);
    parts.push(part ?? line);
  }
  return parts.join('');
}

/** Returns a line without its last character when that is the escape character, not escaped itself. */
function continued(line: string, escape: Escape): string | undefined {
  let end = line.length;
  while (line[end - 1] === ' ' || line[end - 1] === '\t') end -= 1;
  if (line[end - 1] !== escape || line[end - 2] === escape) return undefined;
  return line.slice(0, end - 1);
}

function instructionOf(cursor: LineCursor, text: string, line: number): RawInstruction {
  const [, word = '', after = ''] = /^(\S+)\s*([^]*)$/u.exec(text) ?? [];
  const keyword = word.toUpperCase();
  const nested = keyword === 'ONBUILD' ? (/^(\S+)/u.exec(after)?.[1] ?? '').toUpperCase() : keyword;
  const { flags, rest } = splitFlags(after);
  const heredocs = HEREDOC_KEYWORDS.has(nested) ? heredocsOf(rest, line) : [];
  const bodies: Heredoc[] = heredocs.map((heredoc) => ({ ...heredoc, content: readBody(cursor, heredoc, line) }));
  return {
    line,
    keyword,
    flags,
    rest: rest.trim(),
    heredocs: bodies,
    text: [text, ...bodies.map(({ content, name }) => `${content}${name}`)].join('\n'),
  };
}

function readBody(cursor: LineCursor, { name, chomp }: Heredoc, line: number): string {
  const lines: string[] = [];
  for (let next = cursor.next(); next !== undefined; next = cursor.next()) {
    const bare = withoutBreak(next);
    if ((chomp ? bare.replace(/^\t+/u, '') : bare) === name) return lines.join('');
    lines.push(next);
  }
  throw dockerfileFault(line, `the here-document ${JSON.stringify(name)} has no end`);
}

function withoutBreak(line: string): string {
  let end = line.length;
  if (line[end - 1] === '\n') end -= 1;
  if (line[end - 1] === '\r') end -= 1;
  // A carriage return before `\r\n` belongs to the break, too.
  if (end < line.length && line[end - 1] === '\r') end -= 1;
  return line.slice(0, end);
}

function lineOf(text: string, at: number): number {
  return text.slice(0, at).split('\n').length;
}
