import { fault } from '../contract/errors.ts';
import { present } from '../std/present.ts';
import { isDigest, type Digest } from './digest.ts';

/** Reference of an image at a registry. With a digest, the tag is only informative. */
export interface OciReference {
  /** `host` or `host:port`, lower case; Docker Hub is `docker.io`. */
  readonly registry: string;
  readonly repository: string;
  readonly tag?: string;
  readonly digest?: Digest;
}

const HUB = 'docker.io';
/** Other names of Docker Hub. */
const HUB_ALIASES: ReadonlySet<string> = new Set([
  'index.docker.io',
  'registry-1.docker.io',
  'registry.hub.docker.com',
]);
const HUB_API_HOST = 'registry-1.docker.io';

const NAME_CHARS_MAX = 255;
const SHOWN_CHARS_MAX = 200;

// The grammar of github.com/distribution/reference. Each expression is linear: no alternative overlaps its neighbour.
const SCHEME = /^([a-z][a-z0-9+.-]*):\/\//iu;
const HOST =
  /^(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?$/iu;
const COMPONENT = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/u;
const TAG = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/u;
const HEX_NAME = /^[0-9a-f]{64}$/u;

/**
 * Parses a reference as Docker does: `docker://registry/repository:tag@digest`, `oci://…`, or a short name, where
 * `python:3.11-slim` means Docker Hub's `library/python`. Faults: REFERENCE_INVALID.
 */
export function parseReference(text: string): OciReference {
  const refuse = (reason: string) => fault('REFERENCE_INVALID', { reference: shown(text), reason });
  const [scheme = '', word] = SCHEME.exec(text) ?? [];
  if (word !== undefined && !/^(?:docker|oci)$/iu.test(word)) {
    throw refuse(`${word}:// is not understood; write docker://${shown(text.slice(scheme.length))}`);
  }
  const rest = text.slice(scheme.length);
  const at = rest.indexOf('@');
  const named = at < 0 ? rest : rest.slice(0, at);
  const digest = at < 0 ? undefined : rest.slice(at + 1);
  if (digest !== undefined) checkDigest(digest, refuse);
  const { registry, path } = splitRegistry(named);
  const colon = path.indexOf(':');
  const repository = withLibrary(registry, colon < 0 ? path : path.slice(0, colon));
  const stated = colon < 0 ? undefined : path.slice(colon + 1);
  checkRegistry(registry, refuse);
  checkRepository(repository, (reason) => refuse(`${reason}; it was read as ${registry}/${shown(repository)}`));
  if (stated !== undefined && !TAG.test(stated)) {
    throw refuse(`"${shown(stated)}" is not a tag; it was read as a tag of ${registry}/${repository}`);
  }
  const tag = stated ?? (digest === undefined ? 'latest' : undefined);
  return present({ registry, repository, tag, digest: digest as Digest | undefined });
}

/** Returns the full form, which parses to the same reference: `docker://docker.io/library/python:3.11-slim`. */
export function formatReference({ registry, repository, tag, digest }: OciReference): string {
  const name = `docker://${registry}/${repository}`;
  return `${name}${tag === undefined ? '' : `:${tag}`}${digest === undefined ? '' : `@${digest}`}`;
}

/** Returns the name after `/manifests/` in the registry's API: the digest if there is one, otherwise the tag. */
export function manifestName({ tag, digest }: OciReference): string {
  return digest ?? tag ?? 'latest';
}

/**
 * Returns the canonical name of a registry typed by a user, for use as a key: `index.docker.io` → `docker.io`. Faults:
 * REFERENCE_INVALID.
 */
export function parseRegistry(text: string): string {
  const host = text.replace(/^https?:\/\//iu, '').replace(/\/(?:v[12]\/?)?$/u, '');
  const registry = canonical(host);
  checkRegistry(registry, (reason) => fault('REFERENCE_INVALID', { reference: shown(text), reason }));
  return registry;
}

/** Returns the API host of a registry: Docker Hub's API has a different host name. */
export function apiHost(registry: string): string {
  return registry === HUB ? HUB_API_HOST : registry;
}

type Refuse = (reason: string) => Error;

function splitRegistry(named: string): { registry: string; path: string } {
  const slash = named.indexOf('/');
  const first = slash < 0 ? '' : named.slice(0, slash);
  // Docker's rule: the first part is a host when it could not be the first part of a repository on Docker Hub.
  const isHost = /[.:[]/u.test(first) || first === 'localhost' || first !== first.toLowerCase();
  if (!isHost) return { registry: HUB, path: named };
  return { registry: canonical(first), path: named.slice(slash + 1) };
}

function canonical(host: string): string {
  const registry = host.toLowerCase();
  return HUB_ALIASES.has(registry) ? HUB : registry;
}

/** Adds `library/`, under which Docker Hub keeps its official images. */
function withLibrary(registry: string, repository: string): string {
  return registry === HUB && repository !== '' && !repository.includes('/') ? `library/${repository}` : repository;
}

function checkRegistry(registry: string, refuse: Refuse): void {
  const match = registry.length > NAME_CHARS_MAX ? null : HOST.exec(registry);
  const port = match?.[1] === undefined ? undefined : Number(match[1]);
  if (match === null) throw refuse(`"${shown(registry)}" is not a registry host`);
  if (port !== undefined && (port < 1 || port > 65_535)) throw refuse(`${port} is not a port`);
  if (!URL.canParse(`https://${registry}/`)) throw refuse(`"${registry}" is not a registry host`);
}

function checkRepository(repository: string, refuse: Refuse): void {
  if (repository === '') throw refuse('it names no repository');
  if (repository.length > NAME_CHARS_MAX) throw refuse(`the repository name exceeds ${NAME_CHARS_MAX} characters`);
  if (repository !== repository.toLowerCase()) throw refuse('repository names are lower case');
  if (HEX_NAME.test(repository.replace(/^library\//u, ''))) throw refuse('64 hexadecimal digits are an id, not a name');
  const bad = repository.split('/').find((component) => !COMPONENT.test(component));
  if (bad !== undefined) throw refuse(`"${shown(bad)}" is not part of a repository name`);
}

function checkDigest(digest: string, refuse: Refuse): void {
  if (isDigest(digest)) return;
  if (/^sha(?:384|512)(?::|$)/u.test(digest)) throw refuse('only sha256 digests are supported');
  throw refuse('after "@" comes sha256: and 64 lower-case hexadecimal digits (credentials do not belong here)');
}

/** Returns the text for a message: short, printable, and without anything in the position of a password. */
function shown(text: string): string {
  const at = text.indexOf('@');
  const harmless = at < 0 || /^(?:sha\d+:)?[0-9A-Fa-f]*$/u.test(text.slice(at + 1));
  const masked = harmless ? text : `…${text.slice(text.lastIndexOf('@'))}`;
  const printable = masked.replaceAll(/[^\u0020-\u007e…]/gu, '?');
  return printable.length > SHOWN_CHARS_MAX ? `${printable.slice(0, SHOWN_CHARS_MAX)}…` : printable;
}
