import { fault } from '../../contract/errors.ts';

/** Page on which a registry's users create access tokens, and the smallest scope that can pull. */
interface TokenPage {
  readonly url: string;
  readonly scope: string;
}

const DOCKER_HUB = 'docker.io';

const TOKEN_PAGES: Readonly<Record<string, TokenPage>> = {
  [DOCKER_HUB]: {
    url: 'https://app.docker.com/settings/personal-access-tokens',
    scope: 'public repositories, read-only',
  },
  'ghcr.io': { url: 'https://github.com/settings/tokens/new?scopes=read:packages', scope: 'read:packages' },
  'registry.gitlab.com': {
    url: 'https://gitlab.com/-/user_settings/personal_access_tokens?scopes=read_registry',
    scope: 'read_registry',
  },
  'quay.io': { url: 'https://quay.io/user/?tab=settings', scope: 'robot account with read access' },
  'gcr.io': { url: 'https://console.cloud.google.com/iam-admin/serviceaccounts', scope: 'Artifact Registry Reader' },
};

export function tokenPageOf(registry: string): TokenPage | undefined {
  return TOKEN_PAGES[registry] ?? (registry.endsWith('.gcr.io') ? TOKEN_PAGES['gcr.io'] : undefined);
}

const HOST = /^(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?::\d{1,5})?$/u;
/** Repository with a tag or digest, as in a reference without a host. */
const REPOSITORY = /^[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:\/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*(?::[\w.-]+)?(?:@[\w:]+)?$/u;
const SCHEME = /^[a-z]+:\/\//u;

/**
 * Returns the registry host of a URL, reference or host name: `docker://ghcr.io/owner/app` → `ghcr.io`; a name without
 * a host belongs to Docker Hub. Throws REFERENCE_INVALID.
 */
export function registryHostOf(text: string): string {
  const bare = text.trim().toLowerCase().replace(SCHEME, '');
  const [first = '', ...rest] = bare.split('/');
  const name = first.split(':')[0] ?? '';
  const isHost = name.includes('.') || name === 'localhost' || (first.includes(':') && rest.length > 0);
  const host = isHost ? first : DOCKER_HUB;
  if (!HOST.test(host) || (!isHost && !REPOSITORY.test(bare)))
    throw fault('REFERENCE_INVALID', { reference: text, reason: 'no registry host in it' });
  return host === 'index.docker.io' || host === 'registry-1.docker.io' || host === 'hub.docker.com' ? DOCKER_HUB : host;
}
