import { fault } from '../contract/errors.ts';

/** Forms of the output: `text` for people, the others for programs. */
export const OUTPUT_FORMATS = ['text', 'json', 'json-pretty', 'csv', 'tsv'] as const;
export type OutputFormat = (typeof OUTPUT_FORMATS)[number];

/** Parses the name of a format. Faults: ARGUMENT_INVALID. */
export function outputFormat(text: string): OutputFormat {
  const found = OUTPUT_FORMATS.find((format) => format === text);
  if (found !== undefined) return found;
  throw fault('ARGUMENT_INVALID', { reason: `--format takes ${OUTPUT_FORMATS.join(', ')}` });
}

/** Returns a result in a form for programs. CSV (RFC 4180) and TSV have a header, and JSON in cells of nested values. */
export function formatted(value: unknown, format: Exclude<OutputFormat, 'text'>): string {
  if (format === 'json') return `${JSON.stringify(value)}\n`;
  if (format === 'json-pretty') return `${JSON.stringify(value, undefined, 2)}\n`;
  const records = (Array.isArray(value) ? value : [value]).map(recordOf);
  const columns = [...new Set(records.flatMap((record) => Object.keys(record)))];
  const cell = format === 'csv' ? quoted : escaped;
  const [separator, end] = format === 'csv' ? [',', '\r\n'] : ['\t', '\n'];
  const rows = [columns, ...records.map((record) => columns.map((column) => plain(record[column])))];
  return rows.map((row) => row.map(cell).join(separator) + end).join('');
}

function recordOf(value: unknown): Readonly<Record<string, unknown>> {
  const isRecord = typeof value === 'object' && value !== null && !Array.isArray(value);
  return isRecord ? (value as Readonly<Record<string, unknown>>) : { value };
}

function plain(value: unknown): string {
  if (value === undefined || value === null) return '';
  return typeof value === 'string' ? value : JSON.stringify(value);
}

function quoted(cell: string): string {
  return /[",\r\n]/u.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell;
}

/** Returns a cell without tabs and line breaks, which TSV cannot have. */
function escaped(cell: string): string {
  return cell.replaceAll('\\', '\\\\').replaceAll('\t', '\\t').replaceAll('\n', '\\n').replaceAll('\r', '\\r');
}
