import { hostOf, type OriginRules } from '../guard.ts';

/** Port of an instance, as the name of an origin has it. */
export interface PageTarget {
  /** UUID of the instance's operation. */
  readonly instance: string;
  readonly port: number;
}

/** Target of a request, and its host as the client wrote it. */
export interface PageHost extends PageTarget {
  readonly host: string;
}

const HOST = /^(\d{1,5})-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.([a-z0-9.-]+?)(?::\d{1,5})?$/u;
const PORT_MAX = 65_535;

/**
 * Parses a Host header of the form `PORT-INSTANCE.localhost[:LISTENPORT]`, or below another name of the listener; undefined
 * for any other. Only names of the listener are accepted, because the owner of a name may point it at this machine
 * (DNS rebinding).
 */
export function pageHost(header: string | undefined, { names, anyHost }: OriginRules): PageHost | undefined {
  const host = (header ?? '').toLowerCase();
  const [, digits = '', instance = '', domain = ''] = HOST.exec(host) ?? [];
  const port = Number(digits);
  if (domain === '' || port < 1 || port > PORT_MAX) return undefined;
  const known = domain === 'localhost' || names.some((name) => withoutPort(hostOf(name)) === domain);
  return known || anyHost ? { instance, port, host } : undefined;
}

/** Returns the label of a target's origin. */
export function pageLabel({ instance, port }: PageTarget): string {
  return `${port}-${instance}`;
}

function withoutPort(host: string): string {
  return host.toLowerCase().replace(/:\d+$/u, '');
}
