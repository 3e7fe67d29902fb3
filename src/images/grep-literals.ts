/** Texts of which every match of some patterns holds one. */
export interface RequiredLiterals {
  readonly literals: readonly string[];
  /** The patterns are nothing but these texts. */
  readonly complete: boolean;
}

/** Shorter ones are found too often to save anything. */
const LITERAL_CHARACTERS_MIN = 2;

/**
 * For each branch of each pattern its longest run of plain characters that every match must hold, so that most lines can
 * be passed over by a byte search. Undefined as soon as one branch has none. Understands only what is certain:
 * groups, sets and classes end a run, a quantifier that allows zero drops the character before it.
 */
export function requiredLiterals(patterns: readonly string[]): RequiredLiterals | undefined {
  const literals: string[] = [];
  let complete = true;
  for (const pattern of patterns) {
    const branches = branchesOf(pattern);
    if (branches === undefined) return undefined;
    for (const { longest, whole } of branches) {
      if (longest.length < LITERAL_CHARACTERS_MIN) return undefined;
      literals.push(longest);
      complete &&= whole;
    }
  }
  return { literals: [...new Set(literals)], complete };
}

interface Branch {
  longest: string;
  run: string;
  /** Nothing but the run was seen. */
  whole: boolean;
}

/** Escapes that stand for themselves. */
const QUOTED = /^\\([^\p{L}\p{N}])/u;
/** Escapes that match one character of a class, or a position. */
const CLASS = /^(?:\\[dDwWsSbB]|\\[pP](?:\{[^}]*\}|[A-Za-z])|\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\]|\.|\^|\$)/su;
const QUANTIFIER = /^(?:[*+?]|\{(\d+)(?:,\d*)?\})\??/u;

function branchesOf(pattern: string): Branch[] | undefined {
  const branches: Branch[] = [{ longest: '', run: '', whole: true }];
  for (let at = 0; at < pattern.length;) {
    const rest = pattern.slice(at);
    const branch = branches[branches.length - 1] as Branch;
    if (rest.startsWith('|')) {
      branches.push({ longest: '', run: '', whole: true });
      at += 1;
      continue;
    }
    const length = rest.startsWith('(') ? groupLength(rest) : (CLASS.exec(rest)?.[0].length ?? 0);
    const character = length > 0 ? '' : (QUOTED.exec(rest)?.[1] ?? plainCharacter(rest));
    if (character === undefined || length < 0) return undefined;
    at += length > 0 ? length : QUOTED.test(rest) ? 1 + character.length : character.length;
    const quantifier = QUANTIFIER.exec(pattern.slice(at));
    at += quantifier?.[0].length ?? 0;
    extend(branch, character, quantifier);
  }
  for (const branch of branches) keepLonger(branch);
  return branches;
}

function extend(branch: Branch, character: string, quantifier: RegExpExecArray | null): void {
  if (character !== '' && quantifier === null) {
    branch.run += character;
    return;
  }
  branch.whole = false;
  const once = quantifier !== null && (quantifier[0].startsWith('+') || Number(quantifier[1] ?? 0) > 0);
  if (character !== '' && once) branch.run += character;
  keepLonger(branch);
  branch.run = '';
}

function keepLonger(branch: Branch): void {
  if (branch.run.length > branch.longest.length) branch.longest = branch.run;
}

/** The plain character at the start, or undefined where something stands that is not understood here. */
function plainCharacter(rest: string): string | undefined {
  const character = String.fromCodePoint(rest.codePointAt(0) ?? 0);
  return '\\*+?{}[])\n'.includes(character) ? undefined : character;
}

/** Length of the group at the start; −1 when it is not understood or sets flags for what follows. */
function groupLength(rest: string): number {
  if (/^\(\?[^:P<]/u.test(rest)) return -1;
  let depth = 0;
  for (let at = 0; at < rest.length; at++) {
    const set = rest[at] === '[' ? CLASS.exec(rest.slice(at))?.[0] : undefined;
    if (set !== undefined) at += set.length - 1;
    else if (rest[at] === '\\') at += 1;
    else if (rest[at] === '(') depth += 1;
    else if (rest[at] === ')') depth -= 1;
    if (depth === 0) return at + 1;
  }
  return -1;
}
