import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Digest } from '../../../src/registry/digest.ts';

/** Request that the fake registry received. */
export interface SeenRequest {
  readonly method: string;
  /** Path with query. */
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
}

export type Handler = (request: IncomingMessage, response: ServerResponse) => void;

interface Script {
  readonly pattern: RegExp;
  readonly handler: Handler;
  timesLeft: number;
}

export const OCI = {
  index: 'application/vnd.oci.image.index.v1+json',
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar',
  gzip: 'application/vnd.oci.image.layer.v1.tar+gzip',
  zstd: 'application/vnd.oci.image.layer.v1.tar+zstd',
} as const;

export const DOCKER = {
  list: 'application/vnd.docker.distribution.manifest.list.v2+json',
  manifest: 'application/vnd.docker.distribution.manifest.v2+json',
  config: 'application/vnd.docker.container.image.v1+json',
  gzip: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
} as const;

export interface TestDescriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly size: number;
  readonly platform?: Readonly<Record<string, string>>;
  readonly urls?: readonly string[];
}

export function sha256(bytes: Uint8Array | string): Digest {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

export function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

/** Stored layer, with the digest of its uncompressed tar. */
export interface TestLayer {
  readonly bytes: Buffer;
  readonly diffId: Digest;
  readonly mediaType: string;
}

/**
 * A registry on 127.0.0.1 that serves the given contents and fails as scripted. It answers GET and HEAD of manifests
 * and blobs, with Range; scripts set by `on` come first.
 */
export class FakeRegistry implements AsyncDisposable {
  readonly host: string;
  readonly seen: SeenRequest[] = [];
  readonly #server: ReturnType<typeof createServer>;
  readonly #blobs = new Map<string, Buffer>();
  readonly #manifests = new Map<string, { bytes: Buffer; mediaType: string }>();
  #scripts: Script[] = [];

  private constructor(server: ReturnType<typeof createServer>) {
    this.#server = server;
    this.host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    server.on('request', (request: IncomingMessage, response: ServerResponse) => this.#serve(request, response));
  }

  static async start(): Promise<FakeRegistry> {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new FakeRegistry(server);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  get port(): string {
    return this.host.slice(this.host.indexOf(':') + 1);
  }

  /** `METHOD /path` of all requests, in order. */
  get log(): string[] {
    return this.seen.map(({ method, url }) => `${method} ${url}`);
  }

  /** Answers requests whose `METHOD /path?query` matches with `handler`, the given number of times. */
  on(pattern: RegExp, handler: Handler, times = Number.POSITIVE_INFINITY): void {
    this.#scripts.push({ pattern, handler, timesLeft: times });
  }

  addBlob(bytes: Buffer, mediaType: string): TestDescriptor {
    const digest = sha256(bytes);
    this.#blobs.set(digest, bytes);
    return { mediaType, digest, size: bytes.length };
  }

  /** Stores a document under its digest and, if given, a tag. */
  addManifest(document: unknown, mediaType: string, tag?: string): TestDescriptor {
    const bytes = Buffer.isBuffer(document) ? document : json(document);
    const digest = sha256(bytes);
    this.#manifests.set(digest, { bytes, mediaType });
    if (tag !== undefined) this.#manifests.set(tag, { bytes, mediaType });
    return { mediaType, digest, size: bytes.length };
  }

  /** Stores an image; `change` may alter its manifest first. */
  addImage(
    layers: readonly TestLayer[],
    options: {
      readonly tag?: string;
      readonly config?: Readonly<Record<string, unknown>>;
      readonly change?: (manifest: Record<string, unknown>) => Record<string, unknown>;
    } = {},
  ): TestDescriptor {
    const config = this.addBlob(json(imageConfig(layers, options.config)), OCI.config);
    const manifest = {
      schemaVersion: 2,
      mediaType: OCI.manifest,
      config,
      layers: layers.map(({ bytes, mediaType }) => this.addBlob(bytes, mediaType)),
    };
    return this.addManifest(options.change?.(manifest) ?? manifest, OCI.manifest, options.tag);
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    const { method = '', url = '', headers } = request;
    this.seen.push({ method, url, headers });
    request.resume();
    const script = this.#scripts.find(({ pattern, timesLeft }) => timesLeft > 0 && pattern.test(`${method} ${url}`));
    if (script !== undefined) {
      script.timesLeft -= 1;
      return script.handler(request, response);
    }
    return this.serve(request, response);
  }

  /** Returns the correct answer. */
  serve(request: IncomingMessage, response: ServerResponse): void {
    const [, kind = '', name = ''] = /\/(manifests|blobs)\/([^/?]+)$/u.exec(request.url ?? '') ?? [];
    const manifest = kind === 'manifests' ? this.#manifests.get(name) : undefined;
    const bytes = kind === 'blobs' ? this.#blobs.get(name) : manifest?.bytes;
    if (request.url === '/v2/') return void response.writeHead(200, { 'content-length': 2 }).end('{}');
    if (bytes === undefined) return void response.writeHead(404).end();
    const start = Number(/^bytes=(\d+)-$/u.exec(request.headers.range ?? '')?.[1] ?? 0);
    if (start >= bytes.length && start > 0) return void response.writeHead(416).end();
    response.writeHead(start > 0 ? 206 : 200, {
      'content-type': manifest?.mediaType ?? 'application/octet-stream',
      'content-length': bytes.length - start,
      ...(manifest === undefined ? {} : { 'docker-content-digest': sha256(bytes) }),
      ...(start > 0 ? { 'content-range': `bytes ${start}-${bytes.length - 1}/${bytes.length}` } : {}),
    });
    return void response.end(request.method === 'HEAD' ? undefined : bytes.subarray(start));
  }
}

export function imageConfig(layers: readonly TestLayer[], more: Readonly<Record<string, unknown>> = {}): unknown {
  return {
    os: 'linux',
    architecture: 'amd64',
    rootfs: { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) },
    ...more,
  };
}

/** Returns a script that answers with just a status. */
export function status(code: number, headers: Readonly<Record<string, string>> = {}, body = ''): Handler {
  return (_, response) => void response.writeHead(code, headers).end(body);
}

/** Returns a script that sends the first bytes of the correct answer and then closes the connection. */
export function cutAfter(registry: FakeRegistry, bytesMax: number): Handler {
  return (request, response) => {
    let left = bytesMax;
    const write = response.write.bind(response);
    response.end = ((body?: Buffer) => {
      const part = body?.subarray(0, left) ?? Buffer.alloc(0);
      left -= part.length;
      write(part, () => response.destroy());
      return response;
    }) as typeof response.end;
    registry.serve(request, response);
  };
}

/** Returns a script that requires a bearer token for everything and names this realm. */
export function wantsToken(registry: FakeRegistry, token: string, realm = `http://${registry.host}/token`): Handler {
  return (request, response) => {
    if (request.headers.authorization === `Bearer ${token}`) return registry.serve(request, response);
    const challenge = `Bearer realm="${realm}",service="fake",scope="repository:team/app:pull"`;
    return void response.writeHead(401, { 'www-authenticate': challenge }).end();
  };
}
