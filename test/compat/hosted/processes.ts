import assert from 'node:assert/strict';
import type { OperationEvent } from '../../../src/contract/event.ts';
import type { InstanceResult } from '../../../src/contract/run.ts';
import type { Answer } from '../../support/servers/http-server.ts';
import type { Here, Statement } from './here.ts';

const NOWHERE = '6f9619ff-8b86-4d01-b42d-00cf4fc964ff';

/** Starts a run that waits for input, calls `use` with its operation, and cancels it. */
async function withRun(here: Here, use: (uuid: string) => Promise<void>): Promise<void> {
  const uuid = await here.start({ command: 'cat', stdin: { value: '', close: false }, disposable: true });
  await here.seen(uuid, 'spawn');
  try {
    await use(uuid);
  } finally {
    await here.send('DELETE', `/v1/operations/${uuid}`);
    await here.ended(uuid);
  }
}

async function exec({ send }: Here, uuid: string, body: object): Promise<number> {
  const { status, json, headers } = await send('POST', `/v1/operations/${uuid}/subprocesses`, { body });
  const { spid } = json as { spid: number };
  assert.deepEqual([status, headers.location], [201, `/v1/operations/${uuid}/subprocesses/${spid}`]);
  return spid;
}

async function resultOf({ send }: Here, uuid: string, spid: number): Promise<InstanceResult> {
  return (await send('GET', `/v1/operations/${uuid}/subprocesses/${spid}`)).json as InstanceResult;
}

function input({ send }: Here, uuid: string, spid: number, body: object): Promise<Answer> {
  return send('POST', `/v1/operations/${uuid}/subprocesses/${spid}/stdin`, { body });
}

const PROCESSES: readonly Statement[] = [
  [
    'exec',
    'another process has a spid of 2 or more; its result is -1 while it runs, then what it was',
    (here) =>
      withRun(here, async (uuid) => {
        const spid = await exec(here, uuid, { command: 'cat', stdin: { value: 'hi', close: false } });
        assert.ok(spid >= 2);
        await here.seen(uuid, 'stdout', spid);
        const running = await resultOf(here, uuid, spid);
        assert.deepEqual([running.state?.exit_code, running.state?.signal, running.stdout?.value], [-1, -1, 'hi']);
        assert.ok(Object.values(running.resources ?? {}).every((amount) => amount === -1));
        assert.equal((await input(here, uuid, spid, { value: '' })).status, 204);
        await here.seen(uuid, 'exit', spid);
        const { state } = await resultOf(here, uuid, spid);
        assert.equal(state?.exit_code, 0);
      }),
  ],
  [
    'exec body',
    'fields of the instance are not accepted, and with shell there are no args',
    (here) =>
      withRun(here, async (uuid) => {
        const path = `/v1/operations/${uuid}/subprocesses`;
        for (const field of [
          'image',
          'hostname',
          'resources_limits',
          'files',
          'timeout',
          'disposable',
          'preserve_env',
        ]) {
          const { status } = await here.send('POST', path, { body: { command: 'true', [field]: null } });
          assert.equal(status, 400, field);
        }
        assert.equal((await here.send('POST', path, { body: {} })).status, 400);
      }),
  ],
  [
    'exec shell args',
    'with shell the args of another process must be empty',
    (here) =>
      withRun(here, async (uuid) => {
        const body = { command: 'echo', args: ['x'], shell: true };
        assert.equal((await here.send('POST', `/v1/operations/${uuid}/subprocesses`, { body })).status, 400);
      }),
  ],
  [
    'exec permission',
    'the permission follows the instance: spawn_disposable where it is disposable, otherwise spawn',
    async (here) => {
      const limited = await here.as({ permissions: ['spawn_disposable', 'list'] });
      const body = { command: 'true' };
      await withRun(here, async (uuid) => {
        assert.equal((await limited('POST', `/v1/operations/${uuid}/subprocesses`, { body })).status, 201);
      });
      const kept = await here.start({ command: 'sleep', args: ['60'] });
      await here.seen(kept, 'spawn');
      const { status } = await limited('POST', `/v1/operations/${kept}/subprocesses`, { body });
      await here.send('DELETE', `/v1/operations/${kept}`);
      await here.ended(kept);
      assert.equal(status, 403);
    },
  ],
  [
    'exec truncated',
    'the output of another process is cut at its truncate_output_at',
    (here) =>
      withRun(here, async (uuid) => {
        const spid = await exec(here, uuid, { command: 'flood', args: ['10'], truncate_output_at: 4 });
        await here.seen(uuid, 'exit', spid);
        assert.deepEqual((await resultOf(here, uuid, spid)).stdout, {
          value: 'xxxx',
          encoding: 'ascii',
          truncated: true,
        });
      }),
  ],
  [
    'kill',
    'KILL by default; a number, and a name with and without SIG; another value is a 400',
    (here) =>
      withRun(here, async (uuid) => {
        for (const [query, signal] of [
          ['', 9],
          ['?signal=15', 15],
          ['?signal=TERM', 15],
          ['?signal=SIGTERM', 15],
        ] as const) {
          const spid = await exec(here, uuid, { command: 'sleep', args: ['60'] });
          const path = `/v1/operations/${uuid}/subprocesses/${spid}`;
          assert.equal((await here.send('DELETE', `${path}?signal=NONE`)).status, 400);
          assert.equal((await here.send('DELETE', `${path}${query}`)).status, 204);
          await here.seen(uuid, 'exit', spid);
          const { state } = await resultOf(here, uuid, spid);
          assert.deepEqual([state?.signal, state?.exit_code], [signal, -1], query);
          assert.equal((await here.send('DELETE', path)).status, 404, 'it has exited');
        }
      }),
  ],
  [
    'kill main',
    'killing spid 1 ends the operation',
    async (here) => {
      const uuid = await here.start({ command: 'sleep', args: ['60'], disposable: true });
      await here.seen(uuid, 'spawn');
      assert.equal((await here.send('DELETE', `/v1/operations/${uuid}/subprocesses/1`)).status, 204);
      await here.ended(uuid);
      assert.equal((await resultOf(here, uuid, 1)).state?.signal, 9);
    },
  ],
  [
    'stdin of a process',
    'input goes to a process that waits for it; closed input is a 409, an exited process 404, an ended instance 410',
    async (here) => {
      let ended = '';
      await withRun(here, async (uuid) => {
        const spid = await exec(here, uuid, { command: 'cat', stdin: { value: '', close: false } });
        assert.equal((await input(here, uuid, spid, { value: 'a', close: false })).status, 204);
        const encoded = { value: Buffer.from('b').toString('base64'), encoding: 'base64' };
        assert.equal((await input(here, uuid, spid, encoded)).status, 204);
        await here.seen(uuid, 'exit', spid);
        assert.equal((await resultOf(here, uuid, spid)).stdout?.value, 'ab');
        assert.equal((await input(here, uuid, spid, { value: 'c' })).status, 404);
        const deaf = await exec(here, uuid, { command: 'sleep', args: ['60'] });
        assert.equal((await input(here, uuid, deaf, { value: 'c' })).status, 409);
        assert.equal((await input(here, uuid, deaf, {})).status, 400);
        ended = uuid;
      });
      assert.equal((await input(here, ended, 1, { value: 'c' })).status, 410);
    },
  ],
  [
    'spids',
    'a spid below 1 is a 400; one that was never started is a 404',
    (here) =>
      withRun(here, async (uuid) => {
        const path = `/v1/operations/${uuid}/subprocesses`;
        for (const spid of ['0', '-1', 'x']) {
          assert.equal((await here.send('GET', `${path}/${spid}`)).status, 400, `GET ${spid}`);
          assert.equal((await here.send('DELETE', `${path}/${spid}`)).status, 400, `DELETE ${spid}`);
          assert.equal((await input(here, uuid, Number(spid), { value: '' })).status, 400, `stdin ${spid}`);
        }
        assert.equal((await here.send('GET', `${path}/99`)).status, 404);
        assert.equal((await here.send('DELETE', `${path}/99`)).status, 404);
        assert.equal((await input(here, uuid, 99, { value: '' })).status, 404);
      }),
  ],
  [
    'not running',
    'processes of an import or of an ended run are a 409, of a queued run a 425 with Retry-After',
    async (here) => {
      const held = await here.start({ command: 'true', hostname: 'held', disposable: true });
      const early = await here.send('POST', `/v1/operations/${held}/subprocesses`, { body: { command: 'true' } });
      const killed = await here.send('DELETE', `/v1/operations/${held}/subprocesses/1`);
      const written = await input(here, held, 1, { value: '' });
      here.door.open();
      await here.ended(held);
      for (const { status, headers } of [early, killed, written])
        assert.deepEqual([status, headers['retry-after']], [425, '1']);
      const body = { command: 'true' };
      assert.equal((await here.send('POST', `/v1/operations/${held}/subprocesses`, { body })).status, 409);
      assert.equal((await here.send('DELETE', `/v1/operations/${held}/subprocesses/1`)).status, 409);
      const registry = { url: 'docker://docker.io/processes:1' };
      const { uuid } = (await here.send('POST', '/v1/images/import', { body: { registry } })).json as { uuid: string };
      assert.equal((await here.send('POST', `/v1/operations/${uuid}/subprocesses`, { body })).status, 409);
      await here.ended(uuid);
    },
  ],
  [
    'log of a cancelled run',
    'the processes of a cancelled run are a 404',
    async (here) => {
      const uuid = await here.start({ command: 'sleep', args: ['60'] });
      await here.seen(uuid, 'spawn');
      await here.send('DELETE', `/v1/operations/${uuid}`);
      await here.ended(uuid);
      assert.equal((await here.send('GET', `/v1/operations/${uuid}/subprocesses/1`)).status, 404);
    },
  ],
];

function types(events: readonly { readonly event: string }[]): string[] {
  return events.map(({ event }) => event);
}

const EVENTS: readonly Statement[] = [
  [
    'frames',
    'each frame has the id, type and JSON of its event; the answer is text/event-stream and not cached',
    async (here) => {
      const { uuid } = await here.run({ command: 'echo hi; false', shell: true, disposable: true });
      const { headers } = await here.send('GET', `/v1/operations/${uuid}/events`);
      assert.match(headers['content-type'] ?? '', /^text\/event-stream/u);
      assert.equal(headers['cache-control'], 'no-cache');
      const log = await here.log(uuid);
      for (const { id, event, data } of log) assert.deepEqual([id, event], [String(data.id), data.type]);
    },
  ],
  [
    'log',
    'init is first, shutdown and completion are last, ids increase; completion has no spid, init has 0, the command 1',
    async (here) => {
      const { uuid } = await here.run({ command: 'echo hi', shell: true, disposable: true });
      const log = await here.log(uuid);
      assert.equal(types(log)[0], 'init');
      assert.deepEqual(types(log).slice(-2), ['shutdown', 'completion']);
      const ids = log.map(({ data }) => data.id);
      assert.deepEqual(
        ids,
        ids.toSorted((a, b) => a - b),
      );
      const spidOf = (type: string): number | undefined => log.find(({ event }) => event === type)?.data.spid;
      assert.deepEqual([spidOf('init'), spidOf('spawn'), spidOf('exit'), spidOf('completion')], [0, 1, 1, undefined]);
      assert.ok(!('spid' in (log.at(-1)?.data ?? {})));
    },
  ],
  [
    'follow',
    'follow stays until the end, of an ended operation it changes nothing; without it, or with 0, the answer ends at once',
    (here) =>
      withRun(here, async (uuid) => {
        for (const query of ['', '?follow=0']) assert.ok(!types(await here.log(uuid, query)).includes('completion'));
        const followed = here.log(uuid, '?follow');
        await input(here, uuid, 1, { value: '' });
        assert.equal(types(await followed).at(-1), 'completion');
        assert.deepEqual(await here.log(uuid, '?follow=1'), await here.log(uuid));
      }),
  ],
  [
    'filters',
    'spid and since select events, Last-Event-Id takes precedence, and what is no integer is a 400',
    async (here) => {
      const { uuid } = await here.run({ command: 'echo hi', shell: true, disposable: true });
      const all = await here.log(uuid);
      const ids = (log: typeof all): string[] => log.map(({ id }) => id);
      assert.ok((await here.log(uuid, '?spid=1')).every(({ data }) => data.spid === 1));
      assert.deepEqual(ids(await here.log(uuid, '?since=1')), ids(all.filter(({ data }) => data.id > 1)));
      const resumed = await here.log(uuid, '?since=0', { 'Last-Event-Id': '2' });
      assert.deepEqual(ids(resumed), ids(all.filter(({ data }) => data.id > 2)));
      for (const query of ['spid=x', 'spid=-1', 'since=x', 'follow=2'])
        assert.equal((await here.send('GET', `/v1/operations/${uuid}/events?${query}`)).status, 400, query);
      const headers = { 'Last-Event-Id': 'x' };
      assert.equal((await here.send('GET', `/v1/operations/${uuid}/events`, { headers })).status, 400);
    },
  ],
  [
    'since from 0',
    'since and Last-Event-Id are 0 or more',
    async ({ send, run }) => {
      const { uuid } = await run({ command: 'true', disposable: true });
      assert.equal((await send('GET', `/v1/operations/${uuid}/events?since=-1`)).status, 400);
    },
  ],
  [
    'follow permission',
    'follow needs a permission to spawn, the log alone only list',
    async (here) => {
      const { uuid } = await here.run({ command: 'true', disposable: true });
      const reader = await here.as({ permissions: ['list'] });
      assert.equal((await reader('GET', `/v1/operations/${uuid}/events`)).status, 200);
      assert.equal((await reader('GET', `/v1/operations/${uuid}/events?follow=1`)).status, 403);
    },
  ],
  [
    'masked',
    'values of variables whose names end in TOKEN, SECRET, PASSWORD, API_KEY, CREDENTIALS or AUTHORIZATION are masked',
    async (here) => {
      const names = ['A_TOKEN', 'secret', 'DB_PASSWORD', 'X_API_KEY', 'MY_CREDENTIALS', 'AUTHORIZATION'];
      const env = Object.fromEntries([...names, 'PLAIN'].map((name) => [name, 'value']));
      const { uuid } = await here.run({ command: 'true', env, disposable: true });
      const spawn = (await here.log(uuid)).find(({ event }) => event === 'spawn');
      const logged = (spawn?.data as Extract<OperationEvent, { type: 'spawn' }> | undefined)?.data.env ?? {};
      assert.deepEqual(
        [...names.map((name) => logged[name]), logged['PLAIN']],
        [...names.map(() => '<MASKED>'), 'value'],
      );
    },
  ],
  [
    'reasons',
    'shutdown says job_complete, timeout or signal, and completion how it ended',
    async (here) => {
      const ends = async (body: object, kill = false): Promise<unknown[]> => {
        const uuid = await here.start({ command: 'sleep', args: ['60'], disposable: true, ...body });
        await here.seen(uuid, 'spawn');
        if (kill) await here.send('DELETE', `/v1/operations/${uuid}/subprocesses/1`);
        await here.ended(uuid);
        const [shutdown, completion] = (await here.log(uuid)).slice(-2).map(({ data }) => data.data);
        return [(shutdown as { reason: string }).reason, (completion as { status: string }).status];
      };
      assert.deepEqual(await ends({ args: ['0'] }), ['job_complete', 'SUCCESS']);
      assert.deepEqual(await ends({ timeout: 1 }), ['timeout', 'SUCCESS']);
      assert.deepEqual(await ends({}, true), ['signal', 'SUCCESS']);
    },
  ],
  [
    'truncated event',
    'the end of a stream that was cut has its totals',
    async (here) => {
      const body = { command: 'flood', args: ['10'], truncate_output_at: 4, disposable: true };
      const { uuid } = await here.run(body);
      const event = (await here.log(uuid)).find(({ event: type }) => type === 'truncated');
      assert.partialDeepStrictEqual(event?.data.data, { stream: 'stdout', bytes_emitted: 4, bytes_dropped: 6 });
    },
  ],
  [
    'stdin events',
    'the log has the input of a process, up to truncate_output_at',
    async (here) => {
      const { uuid } = await here.run({ command: 'cat', stdin: { value: 'input' }, disposable: true });
      const event = (await here.log(uuid)).find(({ event: type }) => type === 'stdin');
      assert.partialDeepStrictEqual(event?.data.data, { value: 'input', encoding: 'ascii' });
    },
  ],
  [
    'network event',
    'with a network there is a network event, without none',
    async (here) => {
      const logged = async (networking: object): Promise<boolean> => {
        const { uuid } = await here.run({ command: 'true', networking, disposable: true });
        return types(await here.log(uuid)).includes('network');
      };
      assert.deepEqual([await logged({}), await logged({ enabled: false })], [true, false]);
    },
  ],
  [
    'network counters',
    'the network event comes with the set-up, so that its counters are those of the beginning',
    async (here) => {
      const { uuid } = await here.run({ command: 'true', disposable: true });
      const logged = types(await here.log(uuid));
      assert.ok(logged.indexOf('network') < logged.indexOf('spawn'));
    },
  ],
  [
    'completion',
    'completion has the image of the result; an image that the run did not change is the one it began with',
    async (here) => {
      const last = async (body: object): Promise<object> =>
        (await here.log((await here.run(body)).uuid)).at(-1)?.data.data ?? {};
      const unchanged = { result_image_uuid: here.image, error: null };
      assert.partialDeepStrictEqual(await last({ command: 'true' }), unchanged);
      assert.partialDeepStrictEqual(await last({ command: 'true', disposable: true }), {
        result_image_uuid: null,
        image_size_bytes: 0,
      });
    },
  ],
  [
    'log of nothing',
    'the log of an unknown operation is a 404',
    async ({ send }) => assert.equal((await send('GET', `/v1/operations/${NOWHERE}/events`)).status, 404),
  ],
];

export const PROCESS_STATEMENTS: readonly Statement[] = [...PROCESSES, ...EVENTS];
