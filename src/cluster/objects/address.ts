import { fault } from '../../contract/errors.ts';

/** Place of the objects of a cluster, as `--objects` names it. */
export interface ObjectsAddress {
  readonly bucket: string;
  /** Beginning of every key: empty, or ending with a slash. */
  readonly prefix: string;
  /** URL of the service; absent for that of Amazon. */
  readonly endpoint?: string;
  readonly region?: string;
  /** True when the bucket is in the path of URLs instead of their host. */
  readonly pathStyle: boolean;
}

/** Names of buckets: the rules that services have in common. */
const BUCKET = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/u;
const PREFIX = /^(?:[\w.-]+\/)*$/u;
const OPTIONS = new Set(['endpoint', 'region', 'path-style']);

/**
 * Parses `s3://BUCKET[/PREFIX][?endpoint=URL][&region=NAME][&path-style=yes|no]`. Without `path-style`, a service of its own
 * endpoint has the bucket in the path. Throws CONFIG_INVALID.
 */
export function parseObjectsAddress(text: string): ObjectsAddress {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== 's3:') throw invalid('it is not an address such as s3://bucket/prefix');
  if (url.username !== '' || url.password !== '')
    throw invalid('credentials come from the environment (AWS_ACCESS_KEY_ID)');
  if (!BUCKET.test(url.host)) throw invalid(`${JSON.stringify(url.host)} is not the name of a bucket`);
  const path = url.pathname.replace(/^\/+/u, '');
  const prefix = path === '' || path.endsWith('/') ? path : `${path}/`;
  if (!PREFIX.test(prefix)) throw invalid('a prefix has only A-Z a-z 0-9 _ . - and /');
  for (const name of url.searchParams.keys()) if (!OPTIONS.has(name)) throw invalid(`it has no option ${name}`);
  const endpoint = url.searchParams.get('endpoint') ?? undefined;
  if (endpoint !== undefined && !isHttp(endpoint)) throw invalid('endpoint is not an http:// or https:// URL');
  const region = url.searchParams.get('region') ?? undefined;
  return {
    bucket: url.host,
    prefix,
    ...(endpoint !== undefined && { endpoint }),
    ...(region !== undefined && { region }),
    pathStyle: pathStyle(url.searchParams.get('path-style'), endpoint !== undefined),
  };
}

function pathStyle(text: string | null, usual: boolean): boolean {
  if (text === null) return usual;
  if (text !== 'yes' && text !== 'no') throw invalid('path-style is yes or no');
  return text === 'yes';
}

function isHttp(text: string): boolean {
  return URL.canParse(text) && ['http:', 'https:'].includes(new URL(text).protocol);
}

function invalid(reason: string): Error {
  return fault('CONFIG_INVALID', { setting: 'objects', reason });
}
