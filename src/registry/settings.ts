import { readFile } from 'node:fs/promises';
import type { Environment, Settings } from '../config/index.ts';
import { fault } from '../contract/errors.ts';
import type { RegistrySettings } from './client.ts';

/** Returns the registry settings from our settings and the common proxy variables. */
export async function registrySettings(settings: Settings, env: Environment): Promise<RegistrySettings> {
  const { insecureRegistries: insecure, allowedRegistries: allowed, registryCa } = settings;
  const proxy = (name: string): string | undefined => env[name] || env[name.toUpperCase()];
  const [http, https, no] = [proxy('http_proxy'), proxy('https_proxy'), proxy('no_proxy')];
  return {
    insecure,
    allowed,
    proxy: { ...(http && { http }), ...(https && { https }), ...(no && { no }) },
    ...(registryCa && { ca: await readAuthorities(registryCa) }),
  };
}

async function readAuthorities(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw fault('CONFIG_INVALID', { setting: '--registry-ca', reason: 'the file cannot be read' }, { cause: error });
  }
}
