/** Control characters and direction overrides, which could forge lines or colours where a name is displayed. */
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu;

/** Returns a name from inside an image as one safe line: unsafe characters become `\u{hex}`. */
export function plainName(name: string): string {
  return name.replaceAll(UNSAFE, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`);
}

/** Returns a line of text from inside an image, made safe like `plainName` but with tabs kept. */
export function plainLine(line: string): string {
  return line.split('\t').map(plainName).join('\t');
}

/** Formats a count as `12,345`. */
export function grouped(count: number): string {
  return count.toLocaleString('en-US');
}

/** Formats a count with its noun: `1 image`, `2 images`. */
export function counted(count: number, noun: string, plural = `${noun}s`): string {
  return `${grouped(count)} ${count === 1 ? noun : plural}`;
}

/** Formats permission bits as octal text: `0755`. */
export function octal(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, '0');
}

/** Joins the lines that are present. */
export function lines(...parts: readonly (string | false | null | undefined)[]): string {
  return parts.filter((part) => typeof part === 'string' && part !== '').join('\n');
}

/** Returns an ISO time without fractions of its second. */
export function wholeSeconds(time: string): string {
  return time.replace(/\.\d+(?=Z|[+-]|$)/u, '');
}

const OUR_COMMAND = /(?<![\w./-])contree (?=(?:auth|token|gc|rm|doctor|upload|images|ops|show|ls|cat|engine)\b)/gu;

/** Returns a text with our command line named as the user can run it: a clone has it in no folder of the PATH. */
export function withProgram(text: string, program: string | undefined): string {
  return program === undefined ? text : text.replaceAll(OUR_COMMAND, `${program} `);
}
