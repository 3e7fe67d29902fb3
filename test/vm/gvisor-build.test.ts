import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { EMPTY_IMAGE_CONFIG } from '../../src/contract/image.ts';
import { buildLayer } from '../../src/layers/build-layer.ts';
import { finished, followed, once, openEngine } from '../engine/bench.ts';
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
RUN <<EOF
#!/bin/sh -e
echo "script of $0" > script
EOF
USER builder
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

// Where there is one.
if (await hasRunsc()) {
  const folder = await gvisorFolder();
  const guests = await folder.open();
  const bench = await openEngine({ sandbox: guests.driver });
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

  test('a Dockerfile is built in gVisor: shells, scripts, users and stages', async () => {
    const { uuid } = await engine.images.build({ dockerfile_text: DOCKERFILE });
    const operation = await finished(engine, uuid);
    assert.equal(operation.status, 'SUCCESS', operation.error ?? '');
    const image = store.images.get(operation.result?.image ?? '');
    const files = (await listing(await store.layers.files(image.layers))).filter((line) => line.startsWith('/work/'));
    assert.deepEqual(files, [
      '/work/greeting 644 1000:1000 "hello world\\n"',
      '/work/home 644 1000:1000 "/home/builder\\n"',
      '/work/id 644 1000:1000 "1000\\n"',
      '/work/script 644 0:0 "script of /dev/stdin\\n"',
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
}
