import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { finished } from 'node:stream/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Worker } from 'node:worker_threads';
import { EMPTY_IMAGE_CONFIG } from '../../src/contract/image.ts';
import { NO_XATTRS } from '../../src/erofs/node.ts';
import { LayerBuilder } from '../../src/layers/layer-builder.ts';
import { defined } from '../../src/std/assert.ts';
import { Store } from '../../src/store/store.ts';
import { once as bytesOf } from '../engine/bench.ts';
import { wire, type Answer, type SendOptions, type Wire } from '../support/servers/http-server.ts';
import { MIB } from '../support/memory.ts';
import type { Probed, Watched } from './probe.ts';

/** The rule: whatever one client does, the engine answers its health check within this time. */
const HEALTH_MS_MAX = 250;
/** Memory limit of the engine under the same rule. */
export const RESIDENT_BYTES_MAX: number = 1_024 * MIB;

/** True where sizes are those of the limits themselves (`npm run test:limits`), not a part of them (`npm test`). */
const IS_FULL = process.env['CONTREE_TEST_LIMITS'] === 'full';
/** Files in `/many` of the large image: more than one listing or comparison answers. */
export const MANY: number = IS_FULL ? 200_000 : 50_000;
/** Entries of the large state. */
export const STATE_ENTRIES = 190_000;
/** Bytes of the long line: a slow pattern takes minutes for each of its megabytes, on any machine. */
const LONG_BYTES = 8 * MIB;

/** An engine in a separate process, over a store whose contents are expensive to inspect. */
export interface LimitsEngine extends AsyncDisposable {
  readonly address: string;
  /** An image with `MANY` files in `/many`, and one line of `LONG_BYTES` in `/long`. */
  readonly large: string;
  /** The same content in another layer. */
  readonly other: string;
  /** A small image. */
  readonly small: string;
  /** A directory state of `STATE_ENTRIES`. */
  readonly state: string;
  readonly pid: number;
  /** Sends as the owner, over the socket of the engine. */
  readonly owner: Wire;
  readonly authorization: Readonly<Record<string, string>>;
  send(method: string, path: string, options?: SendOptions): Promise<Answer>;
  /** Reads and discards an answer; returns its status. */
  drain(method: string, path: string, options?: SendOptions): Promise<number>;
  /** Runs `work` and checks the rule meanwhile. */
  holds<Result>(work: () => Promise<Result>): Promise<Result>;
}

const METADATA = { mode: 0o644, uid: 0, gid: 0, mtimeSeconds: 1_700_000_000, mtimeNanoseconds: 0, xattrs: NO_XATTRS };

async function addLarge(store: Store, marker: string): Promise<string> {
  await using staged = store.layers.stage();
  await using builder = await LayerBuilder.create(staged.path);
  const long = Buffer.from(`${'ab'.repeat(LONG_BYTES / 2)}${marker}\n`);
  await builder.add('long', { ...METADATA, type: 'file', size: long.length, content: bytesOf(long) });
  for (let at = 0; at < MANY; at++) {
    const content = Buffer.from(marker);
    const name = `many/file-${String(at).padStart(7, '0')}`;
    await builder.add(name, { ...METADATA, type: 'file', size: content.length, content: bytesOf(content) });
  }
  const layer = await store.layers.publish(staged, await builder.finish());
  return store.images.create({ layers: [layer.digest], config: EMPTY_IMAGE_CONFIG }).uuid;
}

async function addState(store: Store): Promise<string> {
  const { sha256 } = await store.files.write(bytesOf('content'));
  const entries = Array.from({ length: STATE_ENTRIES }, (_, at) => ({
    path: `/synced/${at % 500}/file-${at}`,
    sha256,
    mode: 0o644,
  }));
  const { state } = await store.states.offer(entries);
  assert.ok(state);
  return state.id;
}

async function watch(probed: Probed): Promise<() => Promise<Watched>> {
  const probe = new Worker(new URL('probe.ts', import.meta.url), { workerData: probed });
  await once(probe, 'message');
  return async () => {
    probe.postMessage('stop', []);
    const [watched] = (await once(probe, 'message')) as [Watched];
    await probe.terminate();
    return watched;
  };
}

interface Announced {
  readonly address: string;
  readonly socket: string;
  readonly token: string;
  readonly image: string;
}

interface Program extends AsyncDisposable {
  readonly pid: number;
  /** First line of its output. */
  readonly said: string;
}

/** Starts a program of the tests, which exits when its standard input ends. */
async function startProgram(file: string, ...parameters: readonly string[]): Promise<Program> {
  const program = join(import.meta.dirname, file);
  const child = spawn(process.execPath, [program, ...parameters], { stdio: ['pipe', 'pipe', 'ignore'] });
  const [said] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
  return {
    pid: defined(child.pid, 'it has started'),
    said,
    [Symbol.asyncDispose]: async () => {
      const exited = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : undefined;
      child.stdin.end('\n');
      await exited;
    },
  };
}

/** Large contents are made only where a test needs them, because that takes a while. */
export async function openLimitsEngine({ large: isLarge = true, state: hasState = false } = {}): Promise<LimitsEngine> {
  await using cleanup = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'contree-limits-'));
  cleanup.defer(() => rm(directory, { recursive: true, force: true }));
  const store = await Store.open(directory);
  const [large = '', other = ''] = isLarge ? [await addLarge(store, 'one'), await addLarge(store, 'two')] : [];
  const state = hasState ? await addState(store) : '';
  await store[Symbol.asyncDispose]();

  const peer = cleanup.use(await startProgram('../support/processes/bare-server.ts'));
  const { said, pid } = cleanup.use(await startProgram('../support/processes/logging-engine.ts', directory));
  const { address, socket, token, image: small } = JSON.parse(said) as Announced;
  const { send, open } = wire(address);
  const authorization = { Authorization: `Bearer ${token}` };
  const authorized = (given: SendOptions = {}): SendOptions => ({
    ...given,
    headers: { ...authorization, ...given.headers },
  });
  const owned = cleanup.move();
  return {
    address,
    large,
    other,
    small,
    state,
    pid,
    owner: wire(socket),
    authorization,
    send: (method, path, options) => send(method, path, authorized(options)),
    drain: async (method, path, options) => {
      const response = await open(method, path, authorized(options));
      await finished(response.resume());
      return response.statusCode ?? 0;
    },
    holds: async (work) => {
      const stop = await watch({ address, pid, peer: peer.said });
      try {
        return await work();
      } finally {
        const { longestMs, residentBytes } = await stop();
        // For comparison in the log of a run.
        process.stdout.write(`no answer for ${Math.round(longestMs)} ms, ${Math.round(residentBytes / MIB)} MiB\n`);
        assert.ok(longestMs <= HEALTH_MS_MAX, `no answer for ${Math.round(longestMs)} ms`);
        assert.ok(residentBytes <= RESIDENT_BYTES_MAX, `the engine has ${Math.round(residentBytes / MIB)} MiB`);
      }
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
