import { frameFiles } from '../contract/api/bulk.ts';
import { SUBJECT_PARTS, type Row } from '../contract/api/row.ts';
import { fault } from '../contract/errors.ts';
import type { About } from './faults.ts';
import type { Requester } from './requester.ts';
import type { ServerAnswer, Outgoing, RequestQuery } from './transport.ts';

type Fields = Readonly<Record<string, unknown>>;

/** Arguments of a row's method. */
export interface MethodArguments {
  readonly subject: readonly (string | number)[];
  readonly input: unknown;
  readonly signal: AbortSignal | undefined;
}

/** Request of a row. */
export interface RowRequest {
  readonly row: Row;
  readonly outgoing: Outgoing;
  readonly about: About;
  readonly signal: AbortSignal | undefined;
}

function argumentsOf(row: Row, args: readonly unknown[]): MethodArguments {
  const parts = row.subject === undefined ? 0 : SUBJECT_PARTS[row.subject];
  const takesInput = (row.query ?? row.body ?? row.upload) !== undefined;
  return {
    subject: args.slice(0, parts) as readonly (string | number)[],
    input: takesInput ? args[parts] : undefined,
    signal: args[parts + (takesInput ? 1 : 0)] as AbortSignal | undefined,
  };
}

/** Prepares the request of a row's method. Faults: IMAGE_NOT_FOUND for a tag that no image has. */
export async function prepare(requester: Requester, row: Row, args: readonly unknown[]): Promise<RowRequest> {
  const { subject, input, signal } = argumentsOf(row, args);
  const named = row.byName ? subject : await resolved(requester, row, { subject, input, signal });
  return { row, outgoing: outgoingOf(row, named, input), about: aboutOf(row, subject, input), signal };
}

/** Calls the method of a row whose answer is one value, a stream of bytes, or nothing. */
export async function callRow(requester: Requester, row: Row, args: readonly unknown[]): Promise<unknown> {
  const { outgoing, about, signal } = await prepare(requester, row, args);
  if (row.stream === 'bytes') return requester.open(outgoing, about, signal);
  if (row.answer === undefined) return requester.done(outgoing, about, signal);
  const answer = await requester.json(row.answer, outgoing, about, signal);
  return row.field === undefined ? answer : (answer as Fields)[row.field];
}

function outgoingOf(row: Row, subject: readonly (string | number)[], input: unknown): Outgoing {
  const parts = subject.values();
  const path = row.path.replaceAll(/\{\w+\}/gu, () => encodeURIComponent(String(parts.next().value)));
  const query =
    row.query === undefined ? row.sends : ({ ...(input as RequestQuery), ...row.sends } satisfies RequestQuery);
  return { method: row.method, path, query, ...bodyOf(row, input), ...(row.slow && { timeoutMs: 0 }) };
}

function bodyOf({ upload, body, lines }: Row, input: unknown): Pick<Outgoing, 'json' | 'lines' | 'bytes'> {
  if (upload === 'file') return { bytes: input as AsyncIterable<Uint8Array> };
  if (upload === 'files') return { bytes: frameFiles(input as AsyncIterable<Uint8Array>) };
  if (body === undefined) return {};
  if (lines !== undefined) return { lines: (input as Fields)[lines.field] as readonly unknown[] };
  return { json: input ?? {} };
}

/** Returns the subject of a request, for faults of servers that only send a status. */
function aboutOf(row: Row, [first = '', second]: readonly (string | number)[], input: unknown): About {
  const name = String(first);
  const fields = (input ?? {}) as Fields;
  if (row.missing !== undefined) {
    const path = Array.isArray(fields['path']) ? fields['path'][0] : fields['path'];
    return { kind: 'path', path: String(path ?? '/'), wanted: row.missing };
  }
  if (row.subject === 'token') return { kind: 'token', token: name };
  if (row.subject === 'operation' || row.subject === 'port') return { kind: 'operation', operation: name };
  if (row.subject === 'process') return { kind: 'process', operation: name, spid: Number(second) };
  if (row.subject === 'upload') return { kind: 'upload', file: name };
  if (row.addition) return { kind: 'addition', route: `${row.method} ${row.path}` };
  if (row.subject === 'image') return { kind: 'image', image: name };
  return typeof fields['image'] === 'string' ? { kind: 'image', image: fields['image'] } : { kind: 'server' };
}

async function resolved(
  requester: Requester,
  row: Row,
  { subject, signal }: MethodArguments,
): Promise<readonly (string | number)[]> {
  const [image] = subject;
  if (row.subject !== 'image' || image === undefined) return subject;
  return [await resolveImage(requester, String(image), signal)];
}

/**
 * Returns the UUID of an image. The routes of the hosted contract take UUIDs; a tag is looked up by the redirect it
 * gets.
 */
export async function resolveImage(requester: Requester, image: string, signal?: AbortSignal): Promise<string> {
  if (!image.startsWith('tag:')) return image;
  const request = { method: 'GET', path: '/inspect/', query: { tag: image.slice(4) } } as const;
  const answer = await requester.open(request, { kind: 'image', image }, signal);
  answer.resume();
  const uuid = locationOf(answer);
  if (uuid === undefined) throw fault('REMOTE_FAILED', { status: 302, reason: 'a tag lookup without a location' });
  return uuid;
}

function locationOf(answer: ServerAnswer): string | undefined {
  return answer.headers.location?.split('?')[0]?.split('/').findLast(Boolean);
}
