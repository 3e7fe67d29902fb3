/** Permissions of a token; the first six are the hosted service's names. */
export const PERMISSIONS = [
  'list',
  'spawn',
  'spawn_disposable',
  'import',
  'push',
  'cancel',
  'set_image_tag',
  'upload',
  'delete',
  'metrics',
  'admin',
] as const;
export type Permission = (typeof PERMISSIONS)[number];
