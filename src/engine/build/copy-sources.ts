import { posix } from 'node:path';
import type { DockerIgnore } from '../../dockerfile/ignore.ts';
import { isPattern, pathTest } from '../../dockerfile/path-pattern.ts';
import { fault } from '../../contract/errors.ts';
import { limits } from '../../contract/limits.ts';
import { type ByteString, toByteString } from '../../std/bytes.ts';
import { Pace } from '../../std/event-loop.ts';
import { textFromPath } from '../../std/path-text.ts';
import { locateSource, type SourceNode } from './source-node.ts';

/** File that a source of COPY or ADD names. */
export interface Match {
  /** Path from the root of the source, as it matched. */
  readonly path: ByteString;
  /** The file, with symlinks followed. */
  readonly node: SourceNode;
}

/** File that is copied because of a match. */
export interface CopiedFile {
  /** Path below the match; empty for the match itself. */
  readonly rest: ByteString;
  readonly node: SourceNode;
}

/**
 * Returns the files that a source names, in byte order: a path, or a pattern whose `*` stops at slashes. `..` does not lead
 * out of the root. Returns none where nothing matches.
 */
export async function matchSources(root: SourceNode, source: string, line: number): Promise<readonly Match[]> {
  const names = posix
    .normalize(`/${source}`)
    .split('/')
    .filter((name) => name !== '');
  let found: readonly ByteString[] = [''];
  for (const name of names) {
    const next: ByteString[] = [];
    for (const path of found) next.push(...(await matchName(root, path, name, line)));
    if (next.length > limits.entriesPerLayerMax) throw tooMany();
    found = next;
  }
  return await located(root, found);
}

/** Returns the files anywhere below the root whose path matches a pattern in which `**` crosses slashes. */
export async function matchAnywhere(root: SourceNode, source: string, line: number): Promise<readonly Match[]> {
  const pattern = posix.normalize(`/${source}`).slice(1);
  if (!pattern.includes('**')) return await matchSources(root, source, line);
  const matches = pathTest(pattern, line, { doubleStar: true });
  const found: ByteString[] = [];
  for await (const { rest } of filesBelow(root)) {
    if (rest !== '' && matches(textFromPath(rest))) found.push(rest);
  }
  return await located(root, found);
}

async function located(root: SourceNode, paths: readonly ByteString[]): Promise<readonly Match[]> {
  const matches: Match[] = [];
  for (const path of paths) {
    const node = await locateSource(root, path);
    if (node !== undefined) matches.push({ path, node });
  }
  return matches;
}

/** Returns the paths of the children of a directory that a name, or a pattern of names, stands for. */
async function matchName(
  root: SourceNode,
  path: ByteString,
  name: string,
  line: number,
): Promise<readonly ByteString[]> {
  const below = (child: ByteString): ByteString => (path === '' ? child : `${path}/${child}`);
  if (!isPattern(name)) return [below(toByteString(name))];
  const matches = pathTest(name, line);
  const directory = await locateSource(root, path);
  const children = (await directory?.children()) ?? [];
  return children.filter((child) => matches(textFromPath(child.name))).map((child) => below(child.name));
}

/** Yields a file and everything below it, parents first, without what is excluded. */
export async function* filesBelow(node: SourceNode, exclude?: DockerIgnore): AsyncGenerator<CopiedFile> {
  const pending: CopiedFile[] = [{ rest: '', node }];
  const pace = new Pace();
  let count = 0;
  for (let file = pending.pop(); file !== undefined; file = pending.pop()) {
    if (pace.due()) await pace.rest();
    const { rest } = file;
    const text = rest === '' || exclude === undefined ? '' : textFromPath(rest);
    if (text !== '' && exclude?.ignoresAllBelow(text) === true) continue;
    const left = text !== '' && exclude?.ignores(text) === true;
    if (!left) yield file;
    const children = await file.node.children();
    count += children.length;
    if (count > limits.entriesPerLayerMax) throw tooMany();
    const files = children.map((child) => ({
      rest: rest === '' ? child.name : `${rest}/${child.name}`,
      node: child.node,
    }));
    pending.push(...files.toReversed());
  }
}

function tooMany(): Error {
  return fault('LAYER_LIMIT', { what: 'files copied at once', limit: limits.entriesPerLayerMax });
}
