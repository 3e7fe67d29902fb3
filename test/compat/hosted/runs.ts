import assert from 'node:assert/strict';
import type { OperationResponse, OperationSummary } from '../../../src/contract/operation.ts';
import { resultOf, stdoutOf } from '../../engine/bench.ts';
import type { Here, Statement } from './here.ts';

/** Returns the output of a run of a shell expression. */
async function shell(here: Here, command: string, more: object = {}): Promise<string> {
  return stdoutOf(await here.run({ command, shell: true, disposable: true, ...more })).trim();
}

async function refused({ send, image }: Here, body: object): Promise<void> {
  const { status } = await send('POST', '/v1/instances', { body: { image, command: 'true', ...body } });
  assert.equal(status, 400, JSON.stringify(body));
}

const REQUESTS: readonly Statement[] = [
  [
    'run',
    'a run answers with the body as read, the UUID of its operation and of its image, and Location',
    async ({ send, image }) => {
      await send('PATCH', `/v1/images/${image}/tag`, { body: { tag: 'Runs:1' } });
      const body = { command: 'echo', args: ['hi'], image: 'tag:Runs:1', timeout: 5 };
      const { status, json, headers } = await send('POST', '/v1/instances', { body });
      const answer = json as { uuid: string };
      assert.deepEqual([status, headers.location], [201, `/v1/operations/${answer.uuid}`]);
      assert.deepEqual(answer, { ...body, image, uuid: answer.uuid });
      const { metadata } = (await send('GET', `/v1/operations/${answer.uuid}`)).json as OperationResponse;
      assert.partialDeepStrictEqual(metadata, { image, command: 'echo', args: ['hi'] });
    },
  ],
  [
    'run needs',
    'command and image are required',
    async ({ send, image }) => {
      assert.equal((await send('POST', '/v1/instances', { body: { command: 'true' } })).status, 400);
      assert.equal((await send('POST', '/v1/instances', { body: { image } })).status, 400);
    },
  ],
  [
    'run types',
    'fields have the types of the document; a relative working directory is refused',
    async (here) => {
      for (const body of [
        { cwd: 'relative' },
        { uid: -1 },
        { gid: -1 },
        { args: 'x' },
        { shell: 'yes' },
        { timeout: 'x' },
        { resources_limits: { max_layer_bytes: 0 } },
        { stdin: {} },
        { stdin: { value: 'x', encoding: 'utf8' } },
        { files: { '/x': { uuid: 'x', mode: '9' } } },
      ])
        await refused(here, body);
    },
  ],
  [
    'shell',
    'with shell the command is an expression, and SHELL of env chooses the shell',
    async (here) => {
      assert.equal(await shell(here, 'echo a && echo b'), 'a\nb');
      const uuid = await here.start({ command: 'true', shell: true, env: { SHELL: '/bin/bash' } });
      await here.ended(uuid);
      const spawn = (await here.log(uuid)).find(({ event }) => event === 'spawn');
      assert.partialDeepStrictEqual(spawn?.data.data, { command: '/bin/bash', args: ['-c', 'true'], shell: true });
    },
  ],
  [
    'shell ignores args',
    'with shell all values of args are ignored',
    async (here) => assert.equal(await shell(here, 'echo a', { args: ['b'] }), 'a'),
  ],
  [
    'image env in a shell',
    'with shell the variables of the image are there, and env has priority',
    async (here) => {
      assert.equal(await shell(here, 'printenv FROM_IMAGE'), 'yes');
      assert.equal(await shell(here, 'printenv FROM_IMAGE', { env: { FROM_IMAGE: 'no' } }), 'no');
    },
  ],
  [
    'image env without a shell',
    'without shell the variables of the image are not there',
    async (here) => {
      const { metadata } = await here.run({ command: 'printenv', args: ['FROM_IMAGE'], disposable: true });
      assert.equal('result' in metadata && metadata.result.state?.exit_code, 1);
    },
  ],
  [
    'defaults',
    'PATH, hostname linuxkit, user 0, 12 GiB of layer, network on',
    async (here) => {
      const path = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
      assert.equal(await shell(here, 'printenv PATH; hostname; id -u; id -g'), `${path}\nlinuxkit\n0\n0`);
      const { diskBytes, network } = here.booted();
      assert.deepEqual([diskBytes, network.mode], [12_884_901_888, 'public']);
    },
  ],
  [
    'given',
    'hostname, user, group, layer and network are as asked',
    async (here) => {
      const more = { hostname: 'box', uid: 5, gid: 6, networking: { enabled: false } };
      const asked = { ...more, resources_limits: { max_layer_bytes: 1_073_741_824 } };
      assert.equal(await shell(here, 'hostname; id -u; id -g', asked), 'box\n5\n6');
      const { diskBytes, network } = here.booted();
      assert.deepEqual([diskBytes, network.mode], [1_073_741_824, 'none']);
    },
  ],
  [
    'cwd',
    'an empty or missing cwd is that of the image',
    async (here) => {
      assert.equal(await shell(here, 'pwd', { cwd: '/etc' }), '/etc');
      assert.equal(await shell(here, 'pwd', { cwd: '' }), '/srv');
      assert.equal(await shell(here, 'pwd'), '/srv');
    },
  ],
  [
    'stdin',
    'input is text or base64 and ends after the value unless close is false',
    async (here) => {
      assert.equal(await shell(here, 'cat', { stdin: { value: 'abc' } }), 'abc');
      const encoded = { value: Buffer.from('déf').toString('base64'), encoding: 'base64' };
      assert.equal(Buffer.from(await shell(here, 'cat', { stdin: encoded }), 'base64').toString(), 'déf');
    },
  ],
  [
    'timeout',
    'a run that takes longer is killed, and its state says so',
    async (here) => {
      const { metadata } = await here.run({ command: 'sleep', args: ['60'], timeout: 1, disposable: true });
      assert.equal('result' in metadata && metadata.result.state?.timed_out, true);
    },
  ],
  [
    'truncate_output_at',
    '1 MiB of a stream is kept by default, 10 MiB at most, and truncated says that there was more',
    async (here) => {
      const kept = async (bytes: number, more: object): Promise<unknown> => {
        const { stdout } = resultOf(
          await here.run({ command: 'flood', args: [String(bytes)], disposable: true, ...more }),
        );
        return [stdout?.value.length, stdout?.truncated ?? false];
      };
      assert.deepEqual(await kept(10, { truncate_output_at: 4 }), [4, true]);
      assert.deepEqual(await kept(1_048_577, {}), [1_048_576, true]);
      assert.deepEqual(await kept(10_485_761, { truncate_output_at: 20_000_000 }), [10_485_760, true]);
    },
  ],
  [
    'files',
    'uploads are put at absolute paths',
    async (here) => {
      const { uuid } = (await here.send('POST', '/v1/files', { body: 'injected' })).json as { uuid: string };
      const files = { '/root/hello.txt': { uuid, uid: 1_000, gid: 1_000, mode: '0600' } };
      const { result_image_uuid: image } = await here.run({ command: 'cat /root/hello.txt', shell: true, files });
      const { json } = await here.send('GET', `/v1/inspect/${image}/list?path=/root`);
      const [item] = (json as { files: { path: string; uid: number; mode: number }[] }).files;
      assert.deepEqual([item?.path, item?.uid, item?.mode], ['hello.txt', 1_000, 0o100600]);
      await refused(here, { files: { relative: { uuid } } });
    },
  ],
];

const SAVED: readonly Statement[] = [
  [
    'disposable',
    'a disposable run saves nothing; another one gives an image of which the run is the operation',
    async (here) => {
      const gone = await here.run({ command: 'touch', args: ['/x'], disposable: true });
      assert.deepEqual([gone.result_image_uuid, gone.image_size], [null, null]);
      const kept = await here.run({ command: 'touch', args: ['/x'] });
      const { json } = await here.send('GET', `/v1/inspect/${kept.result_image_uuid}/`);
      assert.equal((json as { operation_uuid: string }).operation_uuid, kept.uuid);
      assert.deepEqual([kept.image_uuid, kept.result?.image], [here.image, kept.result_image_uuid]);
    },
  ],
  [
    'nothing written',
    'a run that wrote nothing has the image that it was run on',
    async (here) => assert.equal((await here.run({ command: 'true' })).result_image_uuid, here.image),
  ],
  [
    'preserve_env',
    'env is merged into the image; an empty string or null takes a variable out',
    async (here) => {
      const more = { preserve_env: true, env: { FROM_IMAGE: '', KEPT: '1', GONE: null } };
      const { result_image_uuid: image } = await here.run({ command: 'touch', args: ['/y'], ...more });
      assert.equal(await shell(here, 'printenv KEPT; printenv FROM_IMAGE || echo none', { image }), '1\nnone');
    },
  ],
  [
    'preserve_cwd',
    'the initial working directory becomes the default of the image',
    async (here) => {
      const { result_image_uuid: image } = await here.run({ command: 'true', cwd: '/etc', preserve_cwd: true });
      assert.equal(await shell(here, 'pwd', { image }), '/etc');
      const again = await here.run({ command: 'true', image, preserve_cwd: true });
      assert.equal(await shell(here, 'pwd', { image: again.result_image_uuid }), '/etc');
    },
  ],
];

const OPERATIONS: readonly Statement[] = [
  [
    'operations filters',
    'status and kind filter; other values are a 400',
    async (here) => {
      await here.run({ command: 'false', disposable: true });
      const found = async (query: string): Promise<readonly OperationSummary[]> =>
        (await here.send('GET', `/v1/operations?${query}`)).json as OperationSummary[];
      assert.ok((await found('status=SUCCESS')).every(({ status }) => status === 'SUCCESS'));
      assert.deepEqual(await found('status=FAILED&kind=image_import'), []);
      assert.ok((await found('kind=instance')).length > 0);
      for (const status of ['PENDING', 'ASSIGNED', 'EXECUTING', 'CANCELLED'])
        assert.ok((await found(`status=${status}`)).every((one) => one.status === status));
      for (const query of ['status=DONE', 'kind=push'])
        assert.equal((await here.send('GET', `/v1/operations?${query}`)).status, 400);
    },
  ],
  [
    'inflight',
    'of a run that executes, inflight shows the output so far; it takes no value, 0 or 1',
    async (here) => {
      const uuid = await here.start({ command: 'echo early; cat', shell: true, stdin: { value: '', close: false } });
      await here.seen(uuid, 'stdout');
      for (const query of ['inflight', 'inflight=1']) {
        const { json } = await here.send('GET', `/v1/operations/${uuid}?${query}`);
        assert.equal(stdoutOf(json as OperationResponse), 'early\n', query);
      }
      assert.equal((await here.send('GET', `/v1/operations/${uuid}?inflight=2`)).status, 400);
      await here.send('DELETE', `/v1/operations/${uuid}`);
      await here.ended(uuid);
    },
  ],
  [
    'inflight off',
    'without inflight a run that executes shows no output',
    async (here) => {
      const uuid = await here.start({ command: 'echo early; cat', shell: true, stdin: { value: '', close: false } });
      await here.seen(uuid, 'stdout');
      const { json } = await here.send('GET', `/v1/operations/${uuid}`);
      await here.send('DELETE', `/v1/operations/${uuid}`);
      await here.ended(uuid);
      assert.equal(stdoutOf(json as OperationResponse), '');
    },
  ],
  [
    'cancel',
    'cancelling is accepted with 202 and ends in CANCELLED; of what has ended it is a 409',
    async (here) => {
      const uuid = await here.start({ command: 'sleep', args: ['60'] });
      assert.equal((await here.send('DELETE', `/v1/operations/${uuid}`)).status, 202);
      const { status, result_image_uuid: image } = await here.ended(uuid);
      assert.deepEqual([status, image], ['CANCELLED', null]);
      assert.equal((await here.send('DELETE', `/v1/operations/${uuid}`)).status, 409);
    },
  ],
  [
    'measured',
    'a run that ended has duration, processor time and memory',
    async (here) => {
      const { duration, consumed_cpu: cpu, consumed_memory: memory } = await here.run({ command: 'true' });
      assert.ok(duration >= 0 && cpu !== null && cpu > 0 && memory !== null && memory > 0);
    },
  ],
];

export const RUN_STATEMENTS: readonly Statement[] = [...REQUESTS, ...SAVED, ...OPERATIONS];
