import { arch } from 'node:process';
import { fault } from '../../contract/errors.ts';
import { dockerfileFault } from '../../dockerfile/faults.ts';

/** Names of architectures in Go, by those in Node. */
const ARCHITECTURES: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64' };
const ALIASES: Readonly<Record<string, string>> = { x86_64: 'amd64', aarch64: 'arm64' };

const ARCHITECTURE = ARCHITECTURES[arch] ?? arch;

/** Refuses the platform of a stage other than that of this machine. Faults: DOCKERFILE_INVALID. */
export function checkStagePlatform(platform: string | undefined, line: number): void {
  if (platform === undefined || isOwn(platform)) return;
  const own = `linux/${ARCHITECTURE}`;
  const reason = `FROM --platform=${platform.slice(0, 80)}: this server builds for ${own} only`;
  throw dockerfileFault(line, `${reason}; leave it out, or build on a machine of that platform`);
}

/** Refuses a platform other than that of this machine. Faults: PLATFORM_UNSUPPORTED. */
export function checkBuildPlatform(platform: string | undefined): void {
  if (platform === undefined || isOwn(platform)) return;
  throw fault('PLATFORM_UNSUPPORTED', { reference: 'a build', wanted: platform, offered: `linux/${ARCHITECTURE}` });
}

function isOwn(platform: string): boolean {
  const [os = '', architecture = ARCHITECTURE, variant] = platform.split('/');
  const isSame = os === 'linux' && (ALIASES[architecture] ?? architecture) === ARCHITECTURE;
  return isSame && (variant === undefined || variant === '' || variant === 'v8');
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
