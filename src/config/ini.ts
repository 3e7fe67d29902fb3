import { fault } from '../contract/errors.ts';

/**
 * Parses the subset of INI we support: `key = value`, `[section]`, whole-line comments with `#` or `;`. Returns the
 * values of `[DEFAULT]` (or of no section), overridden by those of `section`, which must exist when it is given.
 */
export function parseIni(text: string, section?: string): Record<string, string> {
  const sections = iniSections(text);
  const chosen = section === undefined ? {} : sections.get(section);
  if (chosen === undefined) {
    throw fault('CONFIG_INVALID', {
      setting: 'profile',
      reason: `there is no profile ${JSON.stringify(section)}, nor a section [${section}] in the configuration file`,
    });
  }
  return { ...sections.get('DEFAULT'), ...chosen };
}

/**
 * Returns every section with its values; lines before the first section belong to `DEFAULT`. Faults: CONFIG_INVALID.
 */
export function iniSections(text: string): ReadonlyMap<string, Readonly<Record<string, string>>> {
  const sections = new Map<string, Record<string, string>>([
    ['DEFAULT', Object.create(null) as Record<string, string>],
  ]);
  let current = 'DEFAULT';
  for (const [index, raw] of text.split(/\r?\n/u).entries()) {
    const line = raw.trim();
    if (line === '' || line.startsWith('#') || line.startsWith(';')) continue;
    const [, name] = /^\[([^\]]+)\]$/u.exec(line) ?? [];
    const [, key, value] = /^([A-Za-z][\w-]*)\s*[=:]\s*(.*)$/u.exec(line) ?? [];
    if (name !== undefined) {
      current = name.trim();
      if (!sections.has(current)) sections.set(current, Object.create(null) as Record<string, string>);
    } else if (key !== undefined && value !== undefined) {
      Object.assign(sections.get(current) ?? {}, { [key.replaceAll('-', '_')]: value });
    } else {
      throw fault('CONFIG_INVALID', {
        setting: 'config',
        reason: `line ${index + 1} is neither key = value nor [section]`,
      });
    }
  }
  return sections;
}

/** Returns the text with these values in a section, or without the section. Everything else stays, its other keys too. */
export function withSection(text: string, section: string, values: object | undefined): string {
  const lines = text.split(/\r?\n/u);
  if (lines.at(-1) === '') lines.pop();
  const rows = Object.entries(values ?? {}).map(([key, value]) => `${key} = ${value}`);
  const start = lines.findIndex((line) => line.trim() === `[${section}]`);
  if (start === -1) {
    if (values === undefined) return text;
    return [...lines, ...(lines.length > 0 ? [''] : []), `[${section}]`, ...rows, ''].join('\n');
  }
  const length = lines.slice(start + 1).findIndex((line) => /^\s*\[/u.test(line));
  const end = length === -1 ? lines.length : start + 1 + length;
  const others = lines.slice(start + 1, end).filter((line) => !Object.hasOwn(values ?? {}, keyOf(line)));
  const kept = values === undefined ? [] : [`[${section}]`, ...rows, ...others];
  return [...lines.slice(0, start), ...kept, ...lines.slice(end), ''].join('\n');
}

function keyOf(line: string): string {
  return /^\s*([A-Za-z][\w-]*)/u.exec(line)?.[1] ?? '';
}
