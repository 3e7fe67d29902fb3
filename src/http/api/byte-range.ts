/** Range of bytes: the first one, and the one after the last. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/**
 * Parses a Range header. Returns undefined for forms that we do not serve (several ranges, other units), which means
 * the whole file. The result takes the size of the file and returns undefined when the range is outside of it.
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
