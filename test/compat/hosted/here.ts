import assert from 'node:assert/strict';
import type { OperationEvent } from '../../../src/contract/event.ts';
import { EMPTY_IMAGE_CONFIG } from '../../../src/contract/image.ts';
import type { OperationResponse } from '../../../src/contract/operation.ts';
import type { TokenRequest } from '../../../src/contract/server.ts';
import { NO_XATTRS } from '../../../src/erofs/node.ts';
import { LayerBuilder } from '../../../src/layers/layer-builder.ts';
import type { BootSpec } from '../../../src/sandbox/driver.ts';
import type { ProjectStore } from '../../../src/store/project-store.ts';
import { IMPORTER } from '../../conformance/contree.ts';
import { once, finished, seen } from '../../engine/bench.ts';
import type { Document } from '../../support/openapi.ts';
import { wire, type Answer, type SendOptions } from '../../support/servers/http-server.ts';
import { serveBench } from '../../support/servers/served-engine.ts';
import { Answers, eventCheck } from './answers.ts';

type Send = (method: string, path: string, options?: SendOptions) => Promise<Answer>;

/** One statement of the hosted document: its name, what it says, and how to try it. */
export type Statement = readonly [name: string, says: string, check: (here: Here) => Promise<void>];

/** One event of a log as it was sent. */
export interface Frame {
  readonly id: string;
  readonly event: string;
  readonly data: OperationEvent;
}

/** The real engine with the in-memory driver, served over TCP. Every answer is judged by the hosted document. */
export interface Here extends AsyncDisposable {
  readonly answers: Answers;
  readonly send: Send;
  /** Returns a client of another token. */
  as(token: TokenRequest): Promise<Send>;
  /** Sends without a token, or with this one. */
  bare: Send;
  /** Image with the variable FROM_IMAGE and files of every kind. */
  readonly image: string;
  /** Starts a run and returns its operation's UUID. */
  start(body: object): Promise<string>;
  /** Makes another image. */
  addImage(): void;
  /** Runs to the end and returns the operation. */
  run(body: object): Promise<OperationResponse>;
  /** Waits for the end of an operation. */
  ended(uuid: string): Promise<OperationResponse>;
  /** Waits for the first event of a type. */
  seen(uuid: string, type: string, spid?: number): Promise<void>;
  /** Returns the log of an operation. */
  log(uuid: string, query?: string, headers?: Readonly<Record<string, string>>): Promise<Frame[]>;
  /** Returns the sandbox of the run that was started last. */
  booted(): BootSpec;
  /** Holds runs whose hostname is `held` before their guests are up, until this is disposed. */
  readonly door: { open(): void };
}

/** Makes an image with files of every kind that statements are about. */
async function kindsOfFiles(store: ProjectStore): Promise<string> {
  await using staged = store.layers.stage();
  await using builder = await LayerBuilder.create(staged.path);
  const metadata = { mode: 0o644, uid: 0, gid: 0, mtimeSeconds: 1_700_000_000, mtimeNanoseconds: 0, xattrs: NO_XATTRS };
  const file = async (path: string, text: string): Promise<void> => {
    const content = Buffer.from(text);
    await builder.add(path, { ...metadata, type: 'file', size: content.length, content: once(content) });
  };
  await file('etc/passwd', 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n');
  await file('etc/group', 'root:x:0:\n');
  await file('srv/.gitignore', '*.txt\n');
  await file('srv/.hidden', 'needle hidden\n');
  await file('srv/a.txt', 'one\nneedle a\nNEEDLE A\nthree\n');
  await file('srv/binary', 'needle\0binary\n');
  await file('srv/deep/b.conf', 'needle b\n');
  await file('srv/long', `needle${'x'.repeat(8_186)}\n`);
  await builder.add('srv/link', { ...metadata, type: 'symlink', mode: 0o777, target: 'a.txt' });
  await builder.add('srv/pipe', { ...metadata, type: 'fifo' });
  await builder.add('usr/bin', { ...metadata, mode: 0o755, type: 'directory' });
  await builder.add('bin', { ...metadata, type: 'symlink', mode: 0o777, target: 'usr/bin' });
  const layer = await store.layers.publish(staged, await builder.finish());
  const config = { ...EMPTY_IMAGE_CONFIG, env: { FROM_IMAGE: 'yes' }, cwd: '/srv' };
  return store.images.create({ layers: [layer.digest], config }).uuid;
}

function frames(text: string): Frame[] {
  const blocks = text.split('\n\n').filter((block) => block.includes('data: '));
  return blocks.map((block) => {
    const field = (name: string): string => new RegExp(`^${name}: (.*)$`, 'mu').exec(block)?.[1] ?? '';
    return { id: field('id'), event: field('event'), data: JSON.parse(field('data')) as OperationEvent };
  });
}

export async function openHere(hosted: Document): Promise<Here> {
  const boots: BootSpec[] = [];
  let door = Promise.withResolvers<void>();
  const beforeBoot = async (spec: BootSpec): Promise<void> => {
    boots.push(spec);
    if (spec.hostname === 'held') await door.promise;
  };
  const served = await serveBench({ importer: IMPORTER, hooks: { beforeBoot } });
  const { engine, store } = served.bench;
  const answers = new Answers(hosted);
  const judged = (send: Send): Send => {
    return async (method, path, options) => {
      const answer = await send(method, path, options);
      answers.judge(method, path, answer);
      return answer;
    };
  };
  const owner = await served.client();
  const check = eventCheck(hosted);
  const send = judged(owner.send);
  const here: Here = {
    answers,
    send,
    as: async (token) => judged((await served.client(token)).send),
    bare: judged(wire(served.address).send),
    image: await kindsOfFiles(store),
    start: async (body) => {
      const { status, json } = await send('POST', '/v1/instances', { body: { image: here.image, ...body } });
      assert.equal(status, 201);
      return (json as { uuid: string }).uuid;
    },
    addImage: () =>
      void store.images.create({ layers: store.images.get(here.image).layers, config: EMPTY_IMAGE_CONFIG }),
    run: async (body) => here.ended(await here.start(body)),
    ended: async (uuid) => {
      await finished(engine, uuid);
      return (await send('GET', `/v1/operations/${uuid}?inflight=1`)).json as OperationResponse;
    },
    seen: async (uuid, type, spid) => {
      await seen(engine, uuid, (event) => event.type === type && (spid === undefined || event.spid === spid));
    },
    log: async (uuid, query = '', headers = {}) => {
      const { status, text } = await send('GET', `/v1/operations/${uuid}/events${query}`, { headers });
      assert.equal(status, 200);
      const sent = frames(text);
      for (const { data } of sent) for (const difference of check(data)) answers.differences.add(difference);
      return sent;
    },
    booted: () => {
      const last = boots.at(-1);
      assert.ok(last, 'a run was started');
      return last;
    },
    door: {
      open: () => {
        door.resolve();
        door = Promise.withResolvers();
      },
    },
    [Symbol.asyncDispose]: async () => {
      door.resolve();
      await served[Symbol.asyncDispose]();
    },
  };
  return here;
}
