import { hash } from 'node:crypto';
import { z } from 'zod';
import { fault } from '../../contract/errors.ts';
import { limits } from '../../contract/limits.ts';
import { findUpload } from '../../transfer/find-upload.ts';
import type { UploadReport } from '../../transfer/local-files.ts';
import { hiddenFromClients } from '../support/schema.ts';
import { defineTool, type ToolCall } from '../support/tool.ts';
import { grouped } from '../support/text.ts';
import { requireLocalFiles, transferOptions } from '../support/transfers.ts';

export const upload = defineTool({
  name: 'upload',
  title: 'Upload a file',
  description:
    'Free. Stores one file for run(files={"/path": uuid}): a local path (preferred), content (text) or content_base64. ' +
    'For directories use rsync.',
  cost: 'free',
  effect: 'ensures',
  openWorld: false,
  input: z.object({
    path: z.string().min(1).max(limits.pathBytesMax).optional().describe('absolute local path'),
    content: z.string().optional(),
    content_base64: z.string().optional(),
  }),
  output: z.object({
    uuid: z.string(),
    sha256: hiddenFromClients(z.string()),
    size: hiddenFromClients(z.int().min(0)),
    reused: hiddenFromClients(z.boolean().optional()),
  }),
  handle: async (call, { path, content, content_base64 }) => {
    const given = [path, content, content_base64].filter((value) => value !== undefined);
    if (given.length !== 1) {
      throw fault('ARGUMENT_INVALID', { reason: 'give exactly one of "path", "content" and "content_base64"' });
    }
    const report = path === undefined ? await uploadBytes(call, content, content_base64) : await uploadPath(call, path);
    const { reused, ...stored } = report;
    return { ...stored, ...(reused && { reused }) };
  },
  text: ({ uuid, sha256, size, reused }) =>
    `file ${uuid} · ${grouped(size)} bytes · sha256 ${sha256}${reused ? ' · was stored already' : ''}`,
});

async function uploadPath(call: ToolCall, path: string): Promise<UploadReport> {
  return await requireLocalFiles(call, path).upload(call.contree, path, transferOptions(call));
}

async function uploadBytes(
  { contree, signal }: ToolCall,
  text: string | undefined,
  base64: string | undefined,
): Promise<UploadReport> {
  const bytes = text === undefined ? decodeBase64(base64 ?? '') : Buffer.from(text, 'utf8');
  const stored = await findUpload(contree, hash('sha256', bytes, 'hex'), signal);
  const { uuid, sha256, size } = stored ?? (await contree.uploads.create(once(bytes), signal));
  return { uuid, sha256, size, reused: stored !== undefined };
}

/** Decodes base64 strictly: Node ignores invalid characters, but a model that sent them needs an error. */
function decodeBase64(text: string): Buffer {
  const compact = text.replaceAll(/\s/gu, '');
  if (!/^[A-Za-z0-9+/_-]*={0,2}$/u.test(compact)) {
    throw fault('ARGUMENT_INVALID', { reason: 'argument "content_base64" is not base64' });
  }
  return Buffer.from(compact, 'base64');
}

async function* once(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  if (bytes.length > 0) yield bytes;
}
