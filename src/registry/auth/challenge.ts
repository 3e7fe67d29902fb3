/** One challenge of a `WWW-Authenticate` header (RFC 9110 §11.6.1): scheme in lower case, parameters by name. */
export interface Challenge {
  readonly scheme: string;
  readonly parameters: ReadonlyMap<string, string>;
}

const HEADER_CHARS_MAX = 8_192;
const TOKEN = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/uy;
const QUOTED = /"((?:[^"\\]|\\.)*)"/uy;

/**
 * Parses every challenge of a header value; challenges are separated by commas, as are their parameters. Parsing ends
 * at the first syntax error: a registry that sends nonsense gets no credentials.
 */
export function parseChallenges(header: string): Challenge[] {
  const challenges: { scheme: string; parameters: Map<string, string> }[] = [];
  const text = header.slice(0, HEADER_CHARS_MAX);
  let position = 0;
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = position;
    const match = pattern.exec(text);
    if (match !== null) position = pattern.lastIndex;
    return match;
  };
  for (;;) {
    take(/[\s,]*/uy);
    const word = take(TOKEN)?.[0];
    if (word === undefined) return challenges;
    if (take(/\s*=\s*/uy) === null) {
      challenges.push({ scheme: word.toLowerCase(), parameters: new Map() });
      continue;
    }
    const value = take(QUOTED)?.[1]?.replaceAll(/\\(.)/gu, '$1') ?? take(TOKEN)?.[0];
    const current = challenges.at(-1);
    if (value === undefined || current === undefined) return challenges;
    const name = word.toLowerCase();
    // The first of two equal parameters wins, so a second cannot redirect the token request.
    if (!current.parameters.has(name)) current.parameters.set(name, value);
  }
}
