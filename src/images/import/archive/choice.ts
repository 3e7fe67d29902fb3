import { fault } from '../../../contract/errors.ts';
import { formatReference, parseReference } from '../../../registry/reference.ts';

const SHOWN_MAX = 10;

/**
 * Returns the entries of an archive for the requested image: those of that name, or all when no name was given and they
 * are one image (an image for several platforms has several entries). Faults: ARCHIVE_INVALID with the available names.
 */
export function chooseImage<Entry extends { readonly names: readonly string[] }>(
  entries: readonly Entry[],
  reference: string | undefined,
): readonly Entry[] {
  if (entries.length === 0) throw fault('ARCHIVE_INVALID', { reason: 'it contains no image' });
  const names = [...new Set(entries.flatMap((entry) => entry.names))];
  if (reference !== undefined) {
    const found = entries.filter((entry) => entry.names.some((name) => isSameName(name, reference)));
    if (found.length > 0) return found;
    throw fault('ARCHIVE_INVALID', { reason: `it contains no image ${shown([reference])}, only ${shown(names)}` });
  }
  const images = new Set(entries.map((entry) => entry.names.join('\n')));
  if (images.size === 1) return entries;
  throw fault('ARCHIVE_INVALID', {
    reason: `it contains several images; select one of ${shown(names)} with reference`,
  });
}

/** Reports whether two names are equal, as text or as references: `app:1` is `docker.io/library/app:1`. */
function isSameName(one: string, other: string): boolean {
  return one === other || normalised(one) === normalised(other);
}

function normalised(name: string): string {
  try {
    return formatReference(parseReference(name));
  } catch {
    return name;
  }
}

function shown(names: readonly string[]): string {
  if (names.length === 0) return 'images without a name';
  const printable = names.slice(0, SHOWN_MAX).map((name) => name.slice(0, 100).replaceAll(/[^\u0020-\u007e]/gu, '?'));
  return `${printable.join(', ')}${names.length > SHOWN_MAX ? ', …' : ''}`;
}
