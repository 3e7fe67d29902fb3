import { FILE_HANDLERS, UPLOAD_HANDLERS, WIRE_FILES } from './files.ts';
import type { Call, Handlers, Services } from './call.ts';
import { EVENTS } from './events.ts';
import { authorize, type Principal } from '../auth.ts';
import { empty, json, redirect, type HttpReply } from '../reply.ts';
import { INSTANCES } from '../../contract/api/instances.ts';
import { RUNS } from '../../contract/api/operations.ts';
import type { ConTree } from '../../contract/contree.ts';
import type { InstanceSummary, PortInfo } from '../../contract/instance.ts';
import { fault } from '../../contract/errors.ts';
import { isTag } from '../../contract/names.ts';
import { present } from '../../std/present.ts';

/** Returns the answer to queued work: its operation, and where to follow it. */
function started(uuid: string, echo: object = {}): HttpReply {
  return json({ ...echo, uuid }, 201, { Location: `/v1/operations/${uuid}` });
}

/** Redirects to the path with a trailing slash, relatively, so that it works below any path prefix. */
function slashed(last: string, request: Request): HttpReply {
  return redirect(307, `${last}/${new URL(request.url).search}`);
}

/**
 * Requires the permission that starting the instance required: with `spawn_disposable` alone nothing that is saved may be
 * changed, by another process or by input.
 */
async function authorizeInput(contree: ConTree, principal: Principal, operation: string): Promise<void> {
  if (principal.permissions.has('spawn')) return;
  const { metadata } = await contree.operations.get(operation, { output_bytes: 0 });
  if (!('disposable' in metadata) || metadata.disposable !== true) authorize(principal, ['spawn']);
}

/** Adds the address of a port's pages, which only the server knows, or another one behind it. */
function withUrl({ pages }: Services, instance: string, info: PortInfo): PortInfo {
  return { ...info, url: pages?.urlOf({ instance, port: info.port }) ?? info.url };
}

function withUrls<Summary extends Pick<InstanceSummary, 'uuid' | 'ports'>>(
  services: Services,
  summary: Summary,
): Summary {
  return { ...summary, ports: summary.ports.map((info) => withUrl(services, summary.uuid, info)) };
}

/** Handlers of routes that do more than call the method of their row. */
export const HANDLERS: Handlers = {
  images: {
    build: async ({ contree, body, signal }) => started((await contree.images.build(body, signal)).uuid),
    import: async ({ contree, body, signal }) => started((await contree.images.import(body, signal)).uuid),
    importArchive: async ({ contree, body, signal }) =>
      started((await contree.images.importArchive(body, signal)).uuid),
  },
  tags: {
    remove: async ({ contree, subject: [image], query: { tag }, signal }) => {
      await contree.tags.remove(image, tag ? { tag } : {}, signal);
      // Clients that name no tag expect the image in the answer.
      return tag ? empty(204) : json(await contree.images.get(image, signal));
    },
  },
  runs: {
    start: async ({ contree, principal, body, signal }) => {
      authorize(principal, body.disposable ? RUNS.start.permissions : ['spawn']);
      const { uuid, image, reused } = await contree.runs.start(body, signal);
      return started(uuid, { ...body, ...present({ image, reused }) });
    },
  },
  instances: {
    list: async (call) => {
      const found = await call.contree.instances.list(call.query, call.signal);
      return json(found.map((summary) => withUrls(call, summary)));
    },
    get: async (call) => json(withUrls(call, await call.contree.instances.get(...call.subject, call.signal))),
    open: async ({ contree, principal, body, signal }) => {
      authorize(principal, body.disposable ? INSTANCES.open.permissions : ['spawn']);
      const { uuid, image } = await contree.instances.open(body, signal);
      return started(uuid, { ...(image !== undefined && { image }) });
    },
    close: async ({ contree, principal, subject: [operation], body, signal }) => {
      await authorizeInput(contree, principal, operation);
      if (body.keep === true) authorize(principal, ['spawn']);
      await contree.instances.close(operation, body, signal);
      return empty(202);
    },
    publish: async (call) => {
      const {
        contree,
        principal,
        subject: [operation],
        body,
        signal,
      } = call;
      await authorizeInput(contree, principal, operation);
      return json(withUrl(call, operation, await contree.instances.publish(operation, body, signal)), 201);
    },
    unpublish: async ({ contree, principal, subject: [operation, port], signal }) => {
      await authorizeInput(contree, principal, operation);
      await contree.instances.unpublish(operation, port, signal);
      return empty(204);
    },
  },
  operations: { events: EVENTS },
  processes: {
    start: async ({ contree, principal, subject: [operation], body, signal }) => {
      await authorizeInput(contree, principal, operation);
      const { spid } = await contree.processes.start(operation, body, signal);
      return json({ spid }, 201, { Location: `/v1/operations/${operation}/subprocesses/${spid}` });
    },
    write: async ({ contree, principal, subject: [operation, spid], body, signal }) => {
      await authorizeInput(contree, principal, operation);
      await contree.processes.write(operation, spid, body, signal);
      return empty(204);
    },
  },
  files: FILE_HANDLERS,
  uploads: UPLOAD_HANDLERS,
  system: {
    doctor: async ({ contree, principal, query, signal }) => {
      // The report names images of all projects.
      if (query.verify) authorize(principal, ['admin']);
      return json(await contree.system.doctor(query, signal));
    },
  },
  wireOnly: {
    ...WIRE_FILES,
    inspectRedirect: async ({ request }: Call) => slashed('inspect', request),
    inspectImageRedirect: async ({ subject: [image], request }) => slashed(encodeURIComponent(image), request),
    inspectFindImageByTag: async ({ contree, query: { tag }, signal }) => {
      if (!isTag(tag)) throw fault('TAG_NOT_FOUND', { tag: JSON.stringify(tag) });
      return redirect(302, `${(await contree.images.get(`tag:${tag}`, signal)).uuid}/`);
    },
  },
};
