import { arch } from 'node:process';
import { fault } from '../../contract/errors.ts';

/** Names of architectures in Go, by those in Node. */
const ARCHITECTURES: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64' };
const ALIASES: Readonly<Record<string, string>> = { x86_64: 'amd64', aarch64: 'arm64' };

const ARCHITECTURE = ARCHITECTURES[arch] ?? arch;

/** Refuses a platform other than that of this machine. Faults: PLATFORM_UNSUPPORTED. */
export function checkBuildPlatform(platform: string | undefined): void {
  if (platform === undefined) return;
  const [os = '', architecture = ARCHITECTURE, variant] = platform.split('/');
  const isOwn = os === 'linux' && (ALIASES[architecture] ?? architecture) === ARCHITECTURE;
  if (isOwn && (variant === undefined || variant === '' || variant === 'v8')) return;
  throw fault('PLATFORM_UNSUPPORTED', { reference: 'a build', wanted: platform, offered: `linux/${ARCHITECTURE}` });
}

/** Returns the arguments that describe the platform: those of the target and of the builder, which are the same. */
export function platformArgs(): ReadonlyMap<string, string> {
  return new Map(
    ['TARGET', 'BUILD'].flatMap((of) => [
      [`${of}PLATFORM`, `linux/${ARCHITECTURE}`] as const,
      [`${of}OS`, 'linux'] as const,
      [`${of}ARCH`, ARCHITECTURE] as const,
      [`${of}VARIANT`, ''] as const,
    ]),
  );
}
