/**
 * `contree://` URIs of items that tools and resources refer to. Variables are percent-encoded: `tag:a/b` →
 * `tag%3Aa%2Fb`.
 */

export function lineageUri(image: string): string {
  return `contree://image/${encodeURIComponent(image)}/lineage`;
}

export function guideUri(section: string): string {
  return `contree://guide/${section}`;
}
