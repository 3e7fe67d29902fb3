import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { after, test } from 'node:test';
import { SshRelay } from '../../../src/engine/build/ssh/agent.ts';
import { framed, MessageReader } from '../../../src/engine/build/ssh/messages.ts';
import { limits } from '../../../src/contract/limits.ts';
import type { Command, OutputChunk, Process } from '../../../src/sandbox/driver.ts';
import { GUEST_DIR } from '../../support/microvm.ts';
import { until } from '../../support/time/until.ts';

const folder = await mkdtemp(join(tmpdir(), 'contree-ssh-'));
after(async () => rm(folder, { recursive: true, force: true }));

const AGENT = join(GUEST_DIR, 'contree-agent');
const LIST = Buffer.from([11]);
const REFUSED = Buffer.from([5]);
const IDENTITIES = Buffer.from([12, 0, 0, 0, 0]);
const NONE = AbortSignal.timeout(300_000);

function field(text: string): Buffer {
  return framed(Buffer.from(text));
}

const SIGN = Buffer.concat([Buffer.from([13]), field('key'), field('data'), Buffer.alloc(4)]);

/** An agent that keeps what it is asked. */
async function agent(name: string, answer: (request: Buffer) => Buffer): Promise<{ socket: string; asked: Buffer[] }> {
  const asked: Buffer[] = [];
  const server = createServer((client) => {
    const reader = new MessageReader();
    client.on('error', () => undefined);
    client.on('data', (piece) => {
      for (const request of reader.take(piece)) {
        asked.push(request);
        client.write(framed(answer(request)));
      }
    });
  });
  const socket = join(folder, name);
  server.listen(socket);
  await once(server, 'listening');
  after(() => server.close());
  return { socket, asked };
}

/** A guest of one process whose output a test writes, and which keeps what it gets. */
class Guest {
  readonly got: Buffer[] = [];
  readonly killed = Promise.withResolvers<void>();
  /** Resolves when its output is read no more. */
  readonly left = Promise.withResolvers<void>();
  readonly #pieces: (OutputChunk | undefined)[] = [];
  #wake = (): void => undefined;

  send(bytes: Uint8Array | undefined, stream: OutputChunk['stream'] = 'stdout'): void {
    this.#pieces.push(bytes && { stream, bytes });
    this.#wake();
  }

  async *#output(): AsyncGenerator<OutputChunk> {
    try {
      for (;;) {
        while (this.#pieces.length === 0) {
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
        }
        const piece = this.#pieces.shift();
        if (piece === undefined) return;
        yield piece;
      }
    } finally {
      this.left.resolve();
    }
  }

  async start(): Promise<Process> {
    return {
      pid: 1,
      output: this.#output(),
      outcome: new Promise(() => undefined),
      write: async (bytes) => void this.got.push(Buffer.from(bytes)),
      closeStdin: async () => undefined,
      kill: async () => this.killed.resolve(),
      resize: async () => undefined,
    };
  }

  async answers(count: number): Promise<Buffer[]> {
    await until(() => this.got.length >= count);
    return this.got.map((answer) => answer.subarray(4));
  }
}

const MOUNT = { program: '/relay', target: '/agent', mode: 0o600, uid: 0, gid: 0 };

async function relay(guest: Guest, socket: string): Promise<SshRelay> {
  guest.send(framed(Buffer.alloc(0)));
  return SshRelay.open(guest, { ...MOUNT, socket }, NONE);
}

test('identities and signatures are asked for; whatever else a guest sends never reaches the agent', async () => {
  const { socket, asked } = await agent('kinds', ([kind]) => (kind === 11 ? IDENTITIES : Buffer.from([14, 1])));
  const guest = new Guest();
  await using _relay = await relay(guest, socket);
  const broken = [SIGN.subarray(0, -1), Buffer.concat([SIGN, REFUSED]), Buffer.from([13]), Buffer.from([11, 0])];
  const refused = [...broken, ...Array.from({ length: 32 }, (_, kind) => Buffer.from([kind, 1, 2, 3]))];
  guest.send(framed(LIST));
  // In two pieces, and two in one.
  guest.send(framed(SIGN).subarray(0, 3));
  guest.send(Buffer.concat([framed(SIGN).subarray(3), ...refused.map(framed)]));
  const [identities, signature, ...rest] = await guest.answers(2 + refused.length);
  assert.deepEqual([identities, signature], [IDENTITIES, Buffer.from([14, 1])]);
  assert.ok(rest.every((answer) => answer.equals(REFUSED)));
  assert.deepEqual(asked, [LIST, SIGN]);
});

test('an agent that answers with something else, too much or nothing has refused', async () => {
  const wrong = await agent('wrong', () => Buffer.from([14, 0]));
  const large = await agent('large', () => Buffer.alloc(limits.sshMessageBytesMax + 1, 12));
  for (const socket of [wrong.socket, large.socket, join(folder, 'none')]) {
    const guest = new Guest();
    await using _relay = await relay(guest, socket);
    guest.send(framed(LIST));
    assert.deepEqual(await guest.answers(1), [REFUSED]);
  }
});

test('a guest that announces too large a message is served no more', async () => {
  const { socket, asked } = await agent('oversized', () => IDENTITIES);
  const guest = new Guest();
  await using _relay = await relay(guest, socket);
  const head = Buffer.alloc(4);
  head.writeUInt32BE(limits.sshMessageBytesMax + 1);
  guest.send(Buffer.concat([head, framed(LIST)]));
  await guest.killed.promise;
  assert.deepEqual([guest.got, asked], [[], []]);
});

test('nothing is answered once the command has ended', async () => {
  const { socket, asked } = await agent('after', () => IDENTITIES);
  const guest = new Guest();
  const opened = await relay(guest, socket);
  guest.send(framed(LIST));
  await guest.answers(1);
  await opened[Symbol.asyncDispose]();
  guest.send(framed(LIST));
  guest.send(undefined);
  await guest.left.promise;
  assert.deepEqual([guest.got.length, asked.length], [1, 1]);
});

test('a guest that cannot make the socket says why', async () => {
  const guest = new Guest();
  guest.send(Buffer.from('no such folder\n'), 'stderr');
  guest.send(undefined);
  const opened = SshRelay.open(guest, { ...MOUNT, socket: '/none' }, NONE);
  await assert.rejects(opened, { message: 'the socket of the SSH agent cannot be made', output: 'no such folder' });
});

/** Starts the relay of the guest agent as a process of this machine. */
async function relayHere({ argv: [, ...args] }: Command): Promise<Process> {
  // An agent of before the relay would take itself for the init of a machine.
  assert.ok((await readFile(AGENT)).includes('ssh-relay'), 'run guest/build');
  const child = spawn(AGENT, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = once(child, 'exit');
  after(() => child.kill('SIGKILL'));
  async function* output(): AsyncGenerator<OutputChunk> {
    for await (const bytes of child.stdout) yield { stream: 'stdout', bytes: bytes as Buffer };
  }
  return {
    pid: child.pid ?? 0,
    output: output(),
    outcome: new Promise(() => undefined),
    write: async (bytes) => void child.stdin.write(bytes),
    closeStdin: async () => void child.stdin.end(),
    kill: async () => {
      child.kill('SIGKILL');
      await ended;
    },
    resize: async () => undefined,
  };
}

test('the relay of the guest serves a thousand connections, and refuses what is too large', async () => {
  const { socket, asked } = await agent('real', () => IDENTITIES);
  const target = join(folder, 'guest-socket');
  const [uid, gid] = [process.getuid?.() ?? 0, process.getgid?.() ?? 0];
  const opened = await SshRelay.open({ start: relayHere }, { ...MOUNT, target, uid, gid, mode: 0o640, socket }, NONE);
  assert.equal((await stat(target)).mode & 0o777, 0o640);
  const open = (): Socket => connect({ path: target, allowHalfOpen: true });
  const head = Buffer.alloc(4);
  head.writeUInt32BE(limits.sshMessageBytesMax + 1);
  const oversized = open();
  oversized.write(head);
  assert.equal((await buffer(oversized)).length, 0);
  // More connections than are served at once; those that say nothing go away.
  const silent = Array.from({ length: 1_000 }, open);
  for (const client of silent) client.on('error', () => undefined).destroy();
  const clients = Array.from({ length: 20 }, async () => {
    const client = open();
    client.end(framed(LIST));
    return await buffer(client);
  });
  for (const answer of await Promise.all(clients)) assert.deepEqual(answer, framed(IDENTITIES));
  assert.equal(asked.length, 20);
  await opened[Symbol.asyncDispose]();
  const refused = open();
  const [error] = (await once(refused, 'error')) as [NodeJS.ErrnoException];
  assert.equal(error.code, 'ECONNREFUSED');
});
