import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { BuildRequest } from '../../src/contract/build.ts';
import { streamRepr } from '../../src/contract/stream.ts';
import { EMPTY_IMAGE_CONFIG } from '../../src/contract/image.ts';
import { collect } from '../../src/std/bytes.ts';
import { buildLayer } from '../../src/layers/build-layer.ts';
import { finished, followed, once, openEngine } from '../engine/bench.ts';
import { GUEST_DIR, microvmFolder } from '../support/microvm.ts';
import { openTestAgent, sshMembers, verifySignature } from '../support/ssh-agent.ts';
import { gvisorFolder, hasRunsc } from '../support/gvisor.ts';
import { listing } from '../support/layers.ts';
import { busyboxMembers } from '../support/small-image.ts';
import { tarOf } from '../support/tar.ts';

const DOCKERFILE = `FROM busybox AS tools
RUN mkdir /out && cat <<A > /out/two && cat <<-"B" >> /out/two
first $HOME
A
	second $HOME
	B
FROM busybox
ARG GREETING=hello
ENV NAME=world
WORKDIR /work
RUN echo 'builder:x:1000:1000::/home/builder:/bin/sh' >> /etc/passwd && echo 'builder:x:1000:' >> /etc/group && chown builder:builder /work
USER builder
RUN <<EOF
#!/bin/sh -e
echo "script of $0" > script
EOF
RUN <<EOF
echo "$GREETING $NAME" > greeting
id -u > id
echo $HOME > home
EOF
RUN ["/bin/sh", "-c", "echo exec > exec"]
COPY --from=tools --chown=builder:builder /out/two two
RUN --network=none ! wget -T 1 -q http://192.0.2.1/ && rm exec
CMD cat greeting
`;

const MOUNTS = `FROM busybox AS stage
RUN echo of stage > /o
FROM busybox
RUN mkdir /image && echo own > /image/own
RUN --mount=type=bind,source=d,target=/bound --mount=from=stage,source=/o,target=/bound-file \\
    --mount=type=secret,id=s --mount=type=secret,id=s,env=HUSH --mount=type=tmpfs,target=/image <<EOF
set -e
ls /bound/sub
cat /bound/a /bound-file > /seen
echo "$(cat /run/secrets/s) $HUSH" >> /seen
echo dropped > /bound/new
rm /run/secrets/s
test ! -e /image/own
echo t > /image/t
cp /image/t /tmpfs
EOF
RUN --mount=type=cache,target=/var/cache/tool --mount=type=cache,target=/begun,from=busybox,source=/bin,uid=7 <<EOF
set -e
echo 1 >> /var/cache/tool/log
cp /var/cache/tool/log /log
test -x /begun/busybox
echo 2 >> /begun/log
cp /begun/log /begun-log
stat -c %u /begun >> /begun-log
EOF
`;

const SSH = `FROM busybox
COPY ssh /
RUN --mount=type=ssh,required stat -c '%a %u:%g %F' $SSH_AUTH_SOCK > /socket && echo $SSH_AUTH_SOCK >> /socket && ssh-add -l > /listed
RUN --mount=type=ssh,id=default,target=/run/a,mode=0666,uid=5,gid=6 --mount=type=ssh,id=other <<EOF
set -e
stat -c '%a %u:%g' /run/a >> /socket
test ! -e /run/buildkit/ssh_agent.1
ssh-keygen -Y sign -f /key.pub -n test /text
! ssh-add -D
! ssh-add -d /key.pub
ssh-keygen -q -t ed25519 -N '' -f /own
! ssh-add /own
rm /own*
EOF
`;

/** The sandbox is gVisor where there is one, unless `npm run test:attacks` selects the microVM. */
const inMicrovm = process.env['CONTREE_DEFAULT_SANDBOX'] === 'microvm';

if (inMicrovm || (await hasRunsc())) {
  const folder = await (inMicrovm ? microvmFolder() : gvisorFolder());
  const guests = await folder.open();
  const bench = await openEngine({ sandbox: guests.driver, guestAgent: join(GUEST_DIR, 'contree-agent') });
  after(async () => {
    await bench[Symbol.asyncDispose]();
    await guests[Symbol.asyncDispose]();
    await folder[Symbol.asyncDispose]();
  });
  const { engine, store } = bench;
  {
    await using staged = store.layers.stage();
    const built = await buildLayer(once(tarOf(await busyboxMembers())), staged.path);
    const { digest } = await store.layers.publish(staged, built);
    store.tags.set('busybox', store.images.create({ layers: [digest], config: EMPTY_IMAGE_CONFIG }).uuid);
  }

  test('a Dockerfile is built: shells, scripts, users and stages', async () => {
    const { uuid } = await engine.images.build({ dockerfile_text: DOCKERFILE });
    const operation = await finished(engine, uuid);
    assert.equal(operation.status, 'SUCCESS', operation.error ?? '');
    const image = store.images.get(operation.result?.image ?? '');
    const files = (await listing(await store.layers.files(image.layers))).filter((line) => line.startsWith('/work/'));
    assert.deepEqual(files, [
      '/work/greeting 644 1000:1000 "hello world\\n"',
      '/work/home 644 1000:1000 "/home/builder\\n"',
      '/work/id 644 1000:1000 "1000\\n"',
      '/work/script 644 1000:1000 "script of /run/contree-script\\n"',
      '/work/two 644 1000:1000 "first /root\\nsecond $HOME\\n"',
    ]);
    assert.deepEqual([image.config.user, image.config.cwd], ['builder', '/work']);
    const run = await engine.runs.start({
      image: image.uuid,
      command: 'cat /work/greeting',
      shell: true,
      disposable: true,
    });
    assert.equal((await finished(engine, run.uuid)).status, 'SUCCESS');
    const again = await engine.images.build({ dockerfile_text: DOCKERFILE });
    const events = await followed(engine, again.uuid);
    assert.ok(!events.some(({ type }) => type === 'spawn'), 'a second time nothing runs');
  });

  /** Files of a build's image below a path, with their content. */
  async function filesOf(request: BuildRequest, below: RegExp): Promise<string[]> {
    const operation = await finished(engine, (await engine.images.build(request)).uuid);
    assert.equal(operation.status, 'SUCCESS', operation.error ?? '');
    const { layers } = store.images.get(operation.result?.image ?? '');
    return (await listing(await store.layers.files(layers))).filter((line) => below.test(line));
  }

  test('mounts are there for their command only; a cache outlives builds', async () => {
    const { uuid: file } = await engine.uploads.create(
      once(
        tarOf([
          { path: 'd/a', content: 'of context\n' },
          { path: 'd/sub', flag: '5', mode: 0o755 },
        ]),
      ),
    );
    const request: BuildRequest = {
      dockerfile_text: MOUNTS,
      context: { file },
      secrets: [{ id: 's', content: streamRepr(Buffer.from('hush')) }],
      no_cache: true,
    };
    const expected = (log: string): string[] => [
      `/begun-log 644 0:0 ${JSON.stringify(`${log.replaceAll('1', '2')}7\n`)}`,
      '/image 755 0:0 directory',
      '/image/own 644 0:0 "own\\n"',
      '/log 644 0:0 '.concat(JSON.stringify(log)),
      '/root 755 0:0 directory',
      '/seen 644 0:0 "of context\\nof stage\\nhush hush\\n"',
      '/tmpfs 644 0:0 "t\\n"',
    ];
    const shown = /^\/(?:begun|image|log|root|run|seen|bound|tmpfs)/u;
    assert.deepEqual(await filesOf(request, shown), expected('1\n'));
    assert.deepEqual(await filesOf(request, shown), expected('1\n1\n'));
    const { usage } = await engine.system.gc({ dry_run: true });
    assert.ok(
      usage.some(({ what }) => what.includes('cache mounts')),
      JSON.stringify(usage),
    );
    await engine.system.gc({ older_than_days: 0 });
    assert.ok(!(await engine.system.gc({ dry_run: true })).usage.some(({ what }) => what.includes('cache mounts')));
  });

  test('a RUN asks an SSH agent of the host to sign, and for nothing that changes it', async () => {
    await using agent = await openTestAgent();
    const { uuid: file } = await engine.uploads.create(once(tarOf(await sshMembers(agent))));
    const request = { dockerfile_text: SSH, context: { file } };
    const before = await agent.list();
    const required = await finished(engine, (await engine.images.build(request)).uuid);
    assert.match(required.error ?? '', /line 3 of the Dockerfile.*: the SSH agent "default" is not given/u);
    const { uuid } = await engine.images.build({ ...request, ssh: [{ id: 'default', socket: agent.socket }] });
    const events = await followed(engine, uuid);
    const operation = await engine.operations.get(uuid);
    assert.equal(operation.status, 'SUCCESS', JSON.stringify([operation.error, events.slice(-4)]));
    const image = operation.result?.image ?? '';
    const read = async (path: string): Promise<string> =>
      (await collect((await engine.files.read(image, { path })).body, 10_000)).toString();
    assert.equal(await read('/socket'), '600 0:0 socket\n/run/buildkit/ssh_agent.0\n666 5:6\n');
    assert.equal(await read('/listed'), before);
    await verifySignature(agent, 'signed\n', await read('/text.sig'));
    const files = await listing(await store.layers.files(store.images.get(image).layers));
    assert.deepEqual(
      files.filter((line) => /^\/(?:run|own)/u.test(line)),
      [],
    );
    assert.equal(await agent.list(), before);
    const recorded = JSON.stringify([events, operation, store.images.lineage(image)]);
    assert.ok(!recorded.includes(agent.folder), 'its path is recorded nowhere');
    const again = await engine.images.build({ ...request, ssh: [{ id: 'default', socket: agent.socket }] });
    assert.ok(!(await followed(engine, again.uuid)).some(({ type }) => type === 'spawn'));
  });
}
