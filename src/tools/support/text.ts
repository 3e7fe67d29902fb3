/** Control characters and direction overrides, which could forge lines or colours in whoever shows a name. */
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu;

/** A name from inside an image as one harmless line: unsafe characters become `\u{hex}`. */
export function plainName(name: string): string {
  return name.replaceAll(UNSAFE, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`);
}

/** A line of text from inside an image, harmless like `plainName`, its tabs kept. */
export function plainLine(line: string): string {
  return line.split('\t').map(plainName).join('\t');
}

/** `12,345` */
export function grouped(count: number): string {
  return count.toLocaleString('en-US');
}

/** `1 image`, `2 images` */
export function counted(count: number, noun: string): string {
  return `${grouped(count)} ${noun}${count === 1 ? '' : 's'}`;
}

/** Permission bits as octal text: `0755`. */
export function octal(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, '0');
}

/** Lines that are present, joined. */
export function lines(...parts: readonly (string | false | null | undefined)[]): string {
  return parts.filter((part) => typeof part === 'string' && part !== '').join('\n');
}
