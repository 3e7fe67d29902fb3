import { debianImage } from '../../scripts/support/debian-image.ts';

/** Path of a plain tar of a Debian 12 root filesystem with python3; built once per machine, then kept. */
export async function debianRootTar(): Promise<string> {
  return (await debianImage()).tar;
}
