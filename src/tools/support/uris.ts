/**
 * `contree://` URIs of items that tools and resources refer to. Variables are percent-encoded: `tag:a/b` →
 * `tag%3Aa%2Fb`.
 */

export function imageUri(image: string): string {
  return `contree://image/${encodeURIComponent(image)}`;
}

export function lineageUri(image: string): string {
  return `${imageUri(image)}/lineage`;
}

/**
 * Returns the URI of a directory list; `path` is absolute inside the image. The root has its own URI, because `ls/.`
 * does not survive URL parsing.
 */
export function listUri(image: string, path = '/'): string {
  const below = encodePath(path);
  return below === '' ? `${imageUri(image)}/ls` : `${imageUri(image)}/ls/${below}`;
}

export function readUri(image: string, path: string): string {
  return `${imageUri(image)}/read/${encodePath(path)}`;
}

export function operationUri(kind: 'instance' | 'image_import', operation: string): string {
  return `contree://operations/${kind === 'instance' ? 'instance' : 'import'}/${operation}`;
}

export function guideUri(section: string): string {
  return `contree://guide/${section}`;
}

function encodePath(path: string): string {
  return path
    .split('/')
    .filter((segment) => segment !== '')
    .map(encodeURIComponent)
    .join('/');
}
