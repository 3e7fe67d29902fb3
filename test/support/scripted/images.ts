import { randomUUID } from 'node:crypto';
import type { ConTree } from '../../../src/contract/contree.ts';
import type { DiffEntry } from '../../../src/contract/inspect.ts';
import { fault } from '../../../src/contract/errors.ts';
import type { Image, ImagePushRequest, LineageNode, PushEvent } from '../../../src/contract/image.ts';
import { closestOf } from '../../../src/contract/closest.ts';
import { isTag } from '../../../src/contract/names.ts';
import type { FileItem } from '../../../src/contract/inspect.ts';
import { ScriptedRows, type Mutable } from './rows.ts';

export interface ScriptedImage {
  image: Image;
  readonly files: ReadonlyMap<string, Buffer>;
  readonly command: string;
}

/** Images of the scripted ConTree: each is a map from absolute paths to contents. */
export class ScriptedImages extends ScriptedRows {
  protected readonly stored = new Map<string, ScriptedImage>();
  readonly #tags = new Map<string, string>();

  /** Adds an image and returns its uuid. */
  addImage(files: Readonly<Record<string, string>> = {}, tag: string | null = null): string {
    const contents = Object.entries(files).map(([path, text]) => [path, Buffer.from(text)] as const);
    return this.publish({ files: new Map(contents), command: 'import' }, null, null, tag);
  }

  protected publish(
    content: Pick<ScriptedImage, 'files' | 'command'>,
    parent_uuid: string | null,
    operation_uuid: string | null,
    tag: string | null,
  ): string {
    const uuid = randomUUID();
    const made = { command: content.command, exit_code: parent_uuid === null ? null : 0, layer_bytes: 0 };
    const born = { created_at: new Date().toISOString(), operation_uuid, parent_uuid };
    const image = { uuid, tag: null, tags: [], ...born, ...made };
    this.stored.set(uuid, { image, ...content });
    if (tag !== null) void this.tags.set(uuid, { tag });
    return uuid;
  }

  protected readonly imageGroup: Partial<ConTree['images']> & Pick<ConTree['images'], 'delete'> = {
    list: async (query = {}) => {
      const all = [...this.stored.values()].map(({ image }) => image).toReversed();
      const found = all.filter(
        (image) =>
          (query.tag === undefined || (image.tags ?? []).some((tag) => tag.startsWith(query.tag ?? ''))) &&
          (query.tagged !== true || image.tag !== null) &&
          (query.uuid === undefined || image.uuid === query.uuid),
      );
      return page(found, query);
    },
    get: async (image) => {
      return this.image(image).image;
    },
    lineage: async (image) => {
      const node = this.image(image).image;
      const ancestors: Image[] = [];
      for (let parent = node.parent_uuid; parent; parent = this.image(parent).image.parent_uuid) {
        ancestors.push(this.image(parent).image);
      }
      const children = [...this.stored.values()].filter((other) => other.image.parent_uuid === node.uuid);
      return {
        image: this.node(node),
        ancestors: ancestors.map((ancestor) => this.node(ancestor)),
        children: children.map((child) => this.node(child.image)),
        root: (ancestors.at(-1) ?? node).uuid,
      };
    },
    diff: async (from, { to }) => {
      const [before, after] = [this.image(from), this.image(to)];
      const paths = [...new Set([...before.files.keys(), ...after.files.keys()])];
      const entries = paths.flatMap((path) => changeOf(path, before.files.get(path), after.files.get(path)));
      const count = (change: DiffEntry['change']): number => entries.filter((entry) => entry.change === change).length;
      const counts = {
        added: count('added'),
        removed: count('removed'),
        modified: count('modified'),
        truncated: false,
      };
      return { from: before.image.uuid, to: after.image.uuid, entries, ...counts };
    },
    delete: async (image, options = {}) => {
      const { uuid } = this.image(image).image;
      const children = [...this.stored.values()].filter((other) => other.image.parent_uuid === uuid);
      if (children.length > 0 && options.cascade !== true) {
        throw fault('IMAGE_IN_USE', { image: uuid, by: `image ${children[0]?.image.uuid}` });
      }
      const gone = [uuid];
      for (const child of children) gone.push(...(await this.imageGroup.delete(child.image.uuid, options)));
      this.stored.delete(uuid);
      return gone;
    },
    push: (image, request) => this.#push(image, request),
    export: async (image) => {
      return chunks(Buffer.from(`layout of ${this.image(image).image.uuid}`));
    },
  };

  readonly tags: Mutable<ConTree['tags']> = this.scripted('tags', {
    set: async (image, { tag }) => {
      if (!isTag(tag)) throw fault('TAG_INVALID', { tag });
      const { uuid } = this.image(image).image;
      const previous = this.#tags.get(tag);
      if (previous !== undefined) this.#untag(previous, tag);
      const entry = this.image(uuid);
      this.#tags.set(tag, uuid);
      entry.image = { ...entry.image, tag, tags: [tag, ...(entry.image.tags ?? [])] };
      return entry.image;
    },
    remove: async (image, { tag } = {}) => {
      const entry = this.image(image).image;
      const name = tag ?? entry.tag;
      if (name === null) return;
      if (this.#tags.get(name) !== entry.uuid) throw fault('TAG_NOT_FOUND', { tag: name });
      this.#tags.delete(name);
      this.#untag(entry.uuid, name);
    },
  });

  readonly files: Mutable<ConTree['files']> = this.scripted('files', {
    list: async (image, { path, limit, offset = 0 }) => {
      const prefix = path.endsWith('/') ? path : `${path}/`;
      const { files } = this.image(image);
      if (files.has(path)) throw fault('NOT_A_DIRECTORY', { path, type: 'regular file' });
      const below = [...files].filter(([name]) => name.startsWith(prefix));
      if (below.length === 0 && path !== '/') throw fault('FILE_NOT_FOUND', { path, nearest: nearestOf(files, path) });
      const names = [...new Set(below.map(([name]) => name.slice(prefix.length).split('/')[0] ?? ''))].toSorted();
      const asked = limit === undefined ? names : names.slice(offset, offset + limit);
      const items = asked.map((name) => item(name, files.get(prefix + name)));
      return { path, files: items, ...(limit !== undefined && { total: names.length }) };
    },
    stat: async (image, { path }) => {
      const { files } = this.image(image);
      const known = path === '/' || [...files.keys()].some((name) => name === path || name.startsWith(`${path}/`));
      if (!known) throw fault('FILE_NOT_FOUND', { path, nearest: nearestOf(files, path) });
      return item(path, files.get(path));
    },
    read: async (image, { path, offset: start = 0, length }) => {
      const bytes = this.image(image).files.get(path);
      if (bytes === undefined) {
        if ((await this.files.stat(image, { path })).is_dir) throw fault('NOT_A_FILE', { path, type: 'directory' });
        throw fault('FILE_NOT_FOUND', { path });
      }
      return {
        path,
        size: bytes.byteLength,
        body: chunks(bytes.subarray(start, start + (length ?? bytes.byteLength))),
      };
    },
    archive: async (image, { path }) => {
      await this.files.stat(image, { path });
      return chunks(Buffer.from(`tar of ${path}`));
    },
    grep: async (image, query) => {
      const { files } = this.image(image);
      const matches = [...files].flatMap(([path, bytes]) =>
        bytes
          .toString()
          .split('\n')
          .flatMap((text, index) => {
            const start = text.indexOf(query.pattern[0] ?? '');
            const submatches = [{ text: query.pattern[0] ?? '', start, end: start + (query.pattern[0]?.length ?? 0) }];
            const line = {
              line_text: `${text}\n`,
              line_bytes: text.length + 1,
              absolute_offset: 0,
              line_number: index + 1,
            };
            return start < 0 ? [] : [{ path, ...line, submatches, type: 'match' as const }];
          }),
      );
      return { path: query.path?.[0] ?? '/', patterns: [...query.pattern], matches, truncated: false };
    },
  });

  async *#push(image: string, { registry }: ImagePushRequest): AsyncGenerator<PushEvent> {
    this.image(image);
    const progress = { type: 'progress', layers_total: 1, packed_bytes: 0, total_bytes: 9, sent_bytes: 0 } as const;
    yield { ...progress, layers_done: 0 };
    if (registry.url.includes('refused')) throw fault('REGISTRY_DENIED', { registry: 'refused', status: 403 });
    yield { ...progress, layers_done: 1, packed_bytes: 9, sent_bytes: 5 };
    yield { type: 'pushed', reference: registry.url, digest: `sha256:${'0'.repeat(64)}` };
  }

  protected image(source: string): ScriptedImage {
    const uuid = source.startsWith('tag:') ? this.#tags.get(source.slice(4)) : source;
    const found = uuid === undefined ? undefined : this.stored.get(uuid);
    if (found === undefined) {
      const closest = closestOf(source.replace(/^tag:/u, ''), [...this.#tags.keys()]).map((tag) => `tag:${tag}`);
      throw fault('IMAGE_NOT_FOUND', { image: source, ...(closest.length > 0 && { closest: closest.join(', ') }) });
    }
    return found;
  }

  protected node(image: Image): LineageNode {
    const { uuid, parent_uuid = null, tags = [], created_at, operation_uuid } = image;
    const command = this.image(uuid).command;
    return { uuid, parent_uuid, tags, created_at, operation_uuid, command, exit_code: 0, layer_bytes: 0 };
  }

  #untag(uuid: string, tag: string): void {
    const entry = this.image(uuid);
    const tags = (entry.image.tags ?? []).filter((other) => other !== tag);
    entry.image = { ...entry.image, tags, tag: tags[0] ?? null };
  }
}

export function page<Value>(
  all: readonly Value[],
  query: { readonly limit?: number | undefined; readonly offset?: number | undefined },
): Value[] {
  const start = query.offset ?? 0;
  return all.slice(start, start + (query.limit ?? 100));
}

// eslint-disable-next-line typescript/require-await -- bodies are async iterables
export async function* chunks(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let offset = 0; offset < bytes.byteLength; offset += 65_536) yield bytes.subarray(offset, offset + 65_536);
}

function item(path: string, content: Buffer | undefined): FileItem {
  const is_dir = content === undefined;
  return {
    path,
    size: content?.byteLength ?? 4096,
    owner: 'root',
    group: 'root',
    uid: 0,
    gid: 0,
    mtime: 1_700_000_000,
    mode: is_dir ? 0o40755 : 0o100644,
    nlink: 1,
    is_dir,
    is_regular: !is_dir,
    is_symlink: false,
    is_socket: false,
    is_fifo: false,
    symlink_to: '',
  };
}

/** Returns the nearest folder above a path that holds a file. */
function nearestOf(files: ReadonlyMap<string, Buffer>, path: string): string {
  const above = path.slice(0, path.lastIndexOf('/'));
  return above === '' || [...files.keys()].some((file) => file.startsWith(`${above}/`))
    ? above || '/'
    : nearestOf(files, above);
}

function changeOf(path: string, before: Buffer | undefined, after: Buffer | undefined): DiffEntry[] {
  if (after === undefined ? before === undefined : before?.equals(after)) return [];
  const modified = after === undefined ? 'removed' : 'modified';
  return [
    {
      path,
      change: before === undefined ? 'added' : modified,
      type: 'file',
      size: after?.byteLength ?? null,
      size_before: before?.byteLength ?? null,
      mode: after === undefined ? null : 0o100644,
      mode_before: before === undefined ? null : 0o100644,
    },
  ];
}
