/** First byte and the one after the last. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/**
 * Reads a Range header with one range; undefined when there is none that we serve (several ranges, other units), which
 * means the whole file. The result takes the size of the file and is undefined when the range lies outside of it.
 */
export function byteRange(header: string | null): ((size: number) => ByteRange | undefined) | undefined {
  const [, from = '', to = ''] = /^bytes=(\d{0,15})-(\d{0,15})$/u.exec(header ?? '') ?? [];
  if (from === '' && to === '') return undefined;
  if (from !== '' && to !== '' && Number(from) > Number(to)) return undefined;
  return (size) => {
    const start = from === '' ? Math.max(0, size - Number(to)) : Number(from);
    const end = from === '' || to === '' ? size : Math.min(size, Number(to) + 1);
    return start < end ? { start, end } : undefined;
  };
}
