import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { readSettings, SETTINGS } from '../../src/config/index.ts';
import { parseDockerfile } from '../../src/dockerfile/parse.ts';
import { freePort, Postgres } from '../cluster/support/postgres.ts';
import { Versitygw } from '../cluster/support/versitygw.ts';
import { run as runIn } from '../engine/bench.ts';
import { serveBench } from '../support/servers/served-engine.ts';
import { until } from '../support/time/until.ts';

const ROOT = join(import.meta.dirname, '../..');
const TOOLS = join(ROOT, '.build/deploy');
const CHART = join(ROOT, 'deploy/helm/contree');
/** Versions of Kubernetes: the oldest that the chart names, and newer ones. */
const VERSIONS = ['1.31', '1.34', '1.37'];

const REQUIRED = ['objects.url=s3://bucket?endpoint=https://s3.example'];
const EXISTING = [...REQUIRED, 'secret.existing=contree-cluster'];
const CREATED = [
  'cluster=postgres://c@db/c',
  `clusterSecret=${'secret-'.repeat(5)}`,
  'accessKeyId=id',
  'secretAccessKey=key',
];
/** Values with which the chart is checked. */
const CASES: Readonly<Record<string, readonly string[]>> = {
  'as it is': EXISTING,
  'with KVM, autoscaling and a quota': [
    ...EXISTING,
    'worker.kvm.enabled=true',
    'worker.autoscaling.enabled=true',
    'projectQuota=runs=4\\,memory=16G',
    'env.CONTREE_LOG_LEVEL=info',
    'networkPolicy.from[0].namespaceSelector.matchLabels.team=agents',
  ],
  'with its own secret and without policies': [
    ...REQUIRED,
    'secret.create=true',
    ...CREATED.map((value) => `secret.${value}`),
    'networkPolicy.enabled=false',
    'api.autoscaling.enabled=false',
    'worker.cache.storageClassName=fast',
    'imagePullSecrets[0].name=registry',
  ],
};

interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly spec?: { readonly template?: { readonly spec: Pod } };
}

interface Probe {
  readonly httpGet: { readonly path: string };
}

interface Container {
  readonly args: readonly string[];
  readonly env: readonly {
    readonly name: string;
    readonly value?: string;
    readonly valueFrom?: { readonly secretKeyRef?: { readonly key: string } };
  }[];
  readonly readinessProbe: Probe;
  readonly livenessProbe: Probe;
  readonly securityContext: object;
}

/** Finding of kube-score. */
interface Scored {
  readonly object_name: string;
  readonly checks: readonly {
    readonly check: { readonly id: string };
    readonly grade: number;
    readonly skipped: boolean;
  }[];
}

/** Grade of kube-score from which a finding is advice. */
const GRADE_WARNING = 5;
/** Checks of kube-score that do not fit, each with its reason. */
const IGNORED = [
  // The image has its user, 1000. Workers are in a user namespace of their own.
  'container-security-context-user-group-id',
  // Tags of a private image are not written again.
  'container-image-pull-policy',
];
/** A limit would slow guests down that could use idle processors. */
const WITHOUT_CPU_LIMIT = '--ignore-container-cpu-limit';

interface Pod {
  readonly containers: readonly Container[];
  readonly securityContext: object;
}

const execute = promisify(execFile);
let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'contree-deploy-'));
});
after(() => rm(folder, { recursive: true, force: true }));

async function tool(name: string, args: readonly string[]): Promise<string> {
  try {
    return (await execute(join(TOOLS, name), args, { maxBuffer: 64 * 1024 ** 2 })).stdout;
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
    throw new Error(`${name}: ${stdout}${stderr}`, { cause: error });
  }
}

async function rendered(values: readonly string[]): Promise<string> {
  const set = values.flatMap((value) => ['--set', value]);
  return tool('helm', ['template', 'try', CHART, '--kube-version', '1.34.0', ...set]);
}

/** Reads the documents of a manifest; the YAML parser is that of the validator. */
async function documents(text: string): Promise<readonly Manifest[]> {
  const path = join(folder, 'parsed.yaml');
  await writeFile(path, text);
  const script = 'import json,sys,yaml; print(json.dumps([d for d in yaml.safe_load_all(open(sys.argv[1])) if d]))';
  return JSON.parse((await execute(join(TOOLS, 'python/bin/python'), ['-c', script, path])).stdout) as Manifest[];
}

for (const [name, values] of Object.entries(CASES)) {
  test(`the chart, ${name}: Helm and the schemas of Kubernetes accept it`, async () => {
    const set = values.flatMap((value) => ['--set', value]);
    await tool('helm', ['lint', '--strict', CHART, ...set]);
    const path = join(folder, 'manifest.yaml');
    await writeFile(path, await rendered(values));
    for (const version of VERSIONS) await tool('python/bin/kubernetes-validate', ['--strict', '-k', version, path]);
  });
}

test('the check sees a field that Kubernetes does not know', async () => {
  const path = join(folder, 'wrong.yaml');
  await writeFile(path, (await rendered(EXISTING)).replace('readinessProbe:', 'readynessProbe:'));
  const validated = tool('python/bin/kubernetes-validate', ['--strict', '-k', '1.34', path]);
  await assert.rejects(validated, /'readynessProbe' was unexpected/u);
});

test('an API node meets the restricted Pod Security Standard; a worker differs in what the values say', async () => {
  const manifests = await documents(await rendered(EXISTING));
  const podOf = (kind: string): Pod => {
    const pod = manifests.find((one) => one.kind === kind)?.spec?.template?.spec;
    assert.ok(pod, kind);
    return pod;
  };
  const restricted = {
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ['ALL'] },
  };
  const [api, worker] = [podOf('Deployment'), podOf('StatefulSet')];
  assert.deepEqual(api.containers[0]?.securityContext, restricted);
  const pod = {
    runAsNonRoot: true,
    runAsUser: 1000,
    runAsGroup: 1000,
    fsGroup: 1000,
    fsGroupChangePolicy: 'OnRootMismatch',
  };
  assert.deepEqual(api.securityContext, { ...pod, seccompProfile: { type: 'RuntimeDefault' } });
  assert.deepEqual(worker.securityContext, { ...pod, seccompProfile: { type: 'Unconfined' } });
  const more = { appArmorProfile: { type: 'Unconfined' }, procMount: 'Unmasked' };
  assert.deepEqual(worker.containers[0]?.securityContext, { ...restricted, ...more });
});

test('every variable of the chart and of compose.yaml is a setting that takes the value', async () => {
  const manifests = await documents(await rendered(CASES['with KVM, autoscaling and a quota'] ?? []));
  const known = new Set(Object.values(SETTINGS).map(({ env }) => env));
  const inChart = manifests.flatMap(({ spec }) => spec?.template?.spec.containers ?? []).flatMap(({ env }) => env);
  const compose = readFileSync(join(ROOT, 'deploy/compose.yaml'), 'utf8');
  const names = [...inChart.map(({ name }) => name), ...(compose.match(/\bCONTREE_[A-Z_]+/gu) ?? [])];
  const ours = names.filter((name) => name.startsWith('CONTREE_'));
  assert.ok(ours.length > 10);
  assert.deepEqual(
    [...new Set(ours)].filter((name) => !known.has(name)),
    [],
  );
  readSettings({ program: 'contree', flags: {}, env: { CONTREE_PROJECT_QUOTA: 'runs=4,memory=16G' } });
});

test('values that cannot be meant are refused by their schema', async () => {
  for (const wrong of [
    'worker.replicas=many',
    'sandbox=docker',
    'objects.url=http://b',
    'worker.replica=3',
    'service.port=0',
  ]) {
    await assert.rejects(rendered([...EXISTING, wrong]), /got|must be|not allowed|does not match|minimum/u, wrong);
  }
});

test('a policy linter finds nothing but what sandboxes need', async () => {
  const path = join(folder, 'scored.yaml');
  await writeFile(path, await rendered(EXISTING));
  const args = [
    'score',
    '--output-format',
    'json',
    WITHOUT_CPU_LIMIT,
    ...IGNORED.flatMap((check) => ['--ignore-test', check]),
    path,
  ];
  const objects = JSON.parse(await tool('kube-score', args)) as readonly Scored[];
  assert.ok(objects.length > 5);
  const ungraded = await tool(
    'kube-score',
    args.filter((arg) => arg !== WITHOUT_CPU_LIMIT),
  ).catch(String);
  assert.match(ungraded, /CPU limit is not set/u, 'the linter can find something');
  assert.deepEqual(
    objects.flatMap(({ object_name: object, checks }) =>
      checks
        .filter(({ grade, skipped }) => grade < GRADE_WARNING && !skipped)
        .map(({ check }) => `${object}: ${check.id}`),
    ),
    [],
  );
});

test('a node with the variables and probes of the chart serves, is not ready without PostgreSQL, and ends when told', async () => {
  await using postgres = await Postgres.open();
  await using objects = await Versitygw.open();
  const url = objects.address('chart');
  const manifests = await documents(await rendered([...EXISTING, `objects.url=${url}`]));
  const [container] = manifests.find(({ kind }) => kind === 'Deployment')?.spec?.template?.spec.containers ?? [];
  assert.ok(container);
  const port = String(await freePort());
  const secrets = {
    cluster: await postgres.database(),
    'cluster-secret': 'a secret of the tests that is long enough',
    'access-key-id': process.env['AWS_ACCESS_KEY_ID'],
    'secret-access-key': process.env['AWS_SECRET_ACCESS_KEY'],
  } as Readonly<Record<string, string>>;
  const given = Object.fromEntries(
    container.env.map(({ name, value, valueFrom }) => [
      name,
      value ?? secrets[valueFrom?.secretKeyRef?.key ?? ''] ?? '',
    ]),
  );
  // What the container has of its own: its file system, address and port.
  const own = {
    CONTREE_DATA_DIR: join(folder, 'node'),
    CONTREE_HTTP_PORT: port,
    CONTREE_NODE_URL: `http://127.0.0.1:${port}`,
  };
  const child = spawn(process.execPath, ['bin/contree', ...container.args], {
    cwd: ROOT,
    env: { PATH: process.env['PATH'] ?? '', ...given, ...own },
    stdio: 'ignore',
  });
  const ended = once(child, 'exit');
  const probe = async (which: 'readinessProbe' | 'livenessProbe'): Promise<number | undefined> =>
    fetch(`http://127.0.0.1:${port}${container[which].httpGet.path}`).then(
      ({ status }) => status,
      () => undefined,
    );
  await until(async () => (await probe('readinessProbe')) === 200);
  await postgres.stop('fast');
  await until(async () => (await probe('readinessProbe')) === 503);
  assert.equal(await probe('livenessProbe'), 200);
  await postgres.start();
  await until(async () => (await probe('readinessProbe')) === 200);
  child.kill('SIGTERM');
  assert.deepEqual(await ended, [0, null]);
});

test('a chart without its required values says which', async () => {
  await assert.rejects(rendered([]), /objects\.url names the bucket|secret\.existing names the Secret/u);
});

test('the dashboard and the alerts read metrics that exist', async () => {
  await using served = await serveBench({ quota: { storage_bytes: 10 ** 9 } });
  await runIn(served.bench.engine, { command: 'true', image: served.bench.base.uuid });
  await served.owner.send('GET', '/v1/whoami');
  const { text } = await served.owner.send('GET', '/metrics');
  // Those of a cluster are read in test/cluster/serve.test.ts.
  const cluster = ['contree_cluster_queue', 'contree_cluster_nodes'];
  const series = new Set([...cluster, ...[...text.matchAll(/^(contree_\w+)/gmu)].map(([, name]) => name)]);
  for (const file of ['contree.json', 'alerts.yaml']) {
    const source = readFileSync(join(ROOT, 'deploy/grafana', file), 'utf8');
    const read = [...source.matchAll(/\b(contree_\w+)/gu)].map(([, name]) => name);
    assert.ok(read.length > 5, file);
    assert.deepEqual(
      read.filter((name) => !series.has(name)),
      [],
      file,
    );
  }
  const dashboard = JSON.parse(readFileSync(join(ROOT, 'deploy/grafana/contree.json'), 'utf8')) as { panels: object[] };
  assert.equal(dashboard.panels.length, 11);
});

test('the Dockerfile is one, by our own parser', () => {
  const { stages } = parseDockerfile(readFileSync(join(ROOT, 'deploy/Dockerfile'), 'utf8'));
  assert.equal(stages.length, 1);
});
