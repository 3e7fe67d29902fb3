import { EMPTY_IMAGE_CONFIG } from '../../../src/contract/image.ts';
import type { Importer } from '../../../src/images/import/importer.ts';
import { buildLayer } from '../../../src/layers/build-layer.ts';
import type { ProjectStore } from '../../../src/store/project-store.ts';
import { once, run } from '../../engine/bench.ts';
import { microvmFolder } from '../../support/microvm.ts';
import { serveBench } from '../../support/servers/served-engine.ts';
import { busyboxMembers } from '../../support/small-image.ts';
import { tarOf } from '../../support/tar.ts';

/** An engine with real guests, for clients of the hosted service. */
export interface ClientEngine extends AsyncDisposable {
  readonly url: string;
  readonly token: string;
}

/** Tags of the images that clients find, all of a minimal Linux. */
const TAGS = ['busybox:latest', 'common/base:1'];

const CONFIG = { ...EMPTY_IMAGE_CONFIG, env: { PATH: '/bin' } };

/** Importer from registries that have the same image under each name, except those with `missing` in them. */
const IMPORTER: Importer = {
  fromRegistry: async ({ url }, { store, progress }) => {
    if (url.includes('missing')) throw new Error('the registry has no such image');
    progress(`fetching ${url}`);
    return { layers: [await busybox(store)], config: CONFIG };
  },
  fromArchive: async () => Promise.reject(new Error('clients of the hosted service import no archives')),
};

async function busybox(store: ProjectStore): Promise<string> {
  await using staged = store.layers.stage();
  const built = await buildLayer(once(tarOf(await busyboxMembers())), staged.path);
  return (await store.layers.publish(staged, built)).digest;
}

export async function clientEngine(): Promise<ClientEngine> {
  await using cleanup = new AsyncDisposableStack();
  const folder = cleanup.use(await microvmFolder());
  const { driver: sandbox } = cleanup.use(await folder.open());
  const served = cleanup.use(await serveBench({ sandbox, importer: IMPORTER }));
  const { engine, store } = served.bench;
  const image = store.images.create({ layers: [await busybox(store)], config: CONFIG });
  for (const tag of TAGS) store.tags.set(tag, image.uuid);
  // Suites look for a run that has ended.
  await run(engine, { command: 'true', image: image.uuid, disposable: true });
  const { token } = await served.client();
  const owned = cleanup.move();
  return { url: served.address, token, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}
