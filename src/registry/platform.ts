/** Platform of an OCI image (image-spec, image-index.md). */
export interface Platform {
  readonly os: string;
  /** Architecture in Go's terms: `amd64`, `arm64`. */
  readonly architecture: string;
  readonly variant?: string | undefined;
}

const ARCHITECTURES: Readonly<Record<string, Platform>> = {
  x64: { os: 'linux', architecture: 'amd64' },
  arm64: { os: 'linux', architecture: 'arm64', variant: 'v8' },
  arm: { os: 'linux', architecture: 'arm', variant: 'v7' },
  ia32: { os: 'linux', architecture: '386' },
  ppc64: { os: 'linux', architecture: 'ppc64le' },
};

/** Returns the platform that microVMs of this machine run. */
export function hostPlatform(arch: string = process.arch): Platform {
  return ARCHITECTURES[arch] ?? { os: 'linux', architecture: arch };
}

/** Names that builders write for the architectures that Go has (containerd, platforms: normalizeArch). */
const ALIASES: Readonly<Record<string, string>> = {
  x86_64: 'amd64',
  'x86-64': 'amd64',
  aarch64: 'arm64',
  armhf: 'arm',
  armel: 'arm',
  i386: '386',
};

/** Returns a platform as an image states it in the names of the specification. */
export function normalPlatform({ os, architecture, variant }: Platform): Platform {
  const name = architecture.toLowerCase();
  return { os: os.toLowerCase(), architecture: ALIASES[name] ?? name, variant };
}

export function formatPlatform({ os, architecture, variant }: Platform): string {
  return `${os}/${architecture}${variant === undefined || variant === '' ? '' : `/${variant}`}`;
}

/** Reports whether two platforms are equal apart from the variant. */
export function isSamePlatform(one: Platform, other: Platform): boolean {
  return one.os === other.os && one.architecture === other.architecture;
}

/**
 * Returns an order of platforms of the right architecture, best first: the wanted variant, then the nearest older one,
 * then newer ones, which may need instructions that the processor lacks.
 */
export function compareVariants(wanted: Platform): (one: Platform, other: Platform) => number {
  const rank = (platform: Platform): number => {
    const have = variantNumber(platform);
    const want = variantNumber(wanted);
    return have <= want ? want - have : 1_000 + have;
  };
  return (one, other) => rank(one) - rank(other);
}

const BASELINE: Readonly<Record<string, number>> = { amd64: 1, arm64: 8, arm: 7 };

function variantNumber({ architecture, variant }: Platform): number {
  const digits = /^v(\d{1,3})/u.exec(variant ?? '')?.[1];
  return digits === undefined ? (BASELINE[architecture] ?? 0) : Number(digits);
}
