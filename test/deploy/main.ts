import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';

/**
 * `npm run test:deploy`: checks `deploy/` as its users would apply it. Builds Helm and kube-score from their Go modules the first
 * time, into a folder that Git ignores; the schemas of Kubernetes come from a package of PyPI. Needs Go and Python.
 */
const ROOT = join(import.meta.dirname, '../..');
const TOOLS = join(ROOT, '.build/deploy');
/** Programs by name, with the modules that they are built from. */
const MODULES = {
  helm: 'helm.sh/helm/v3/cmd/helm@v3.19.0',
  'kube-score': 'github.com/zegl/kube-score/cmd/kube-score@v1.20.0',
};
const SCHEMAS = 'kubernetes-validate==1.37.0';

function run(command: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): void {
  const { status } = spawnSync(command, args, { stdio: 'inherit', cwd: ROOT, env: { ...process.env, ...env } });
  if (status !== 0) process.exit(status ?? 1);
}

mkdirSync(TOOLS, { recursive: true });
for (const [name, module] of Object.entries(MODULES)) {
  if (existsSync(join(TOOLS, name))) continue;
  process.stdout.write(`deploy: building ${module}\n`);
  run('go', ['install', module], { GOBIN: TOOLS });
}
const python = join(TOOLS, 'python');
if (!existsSync(join(python, 'bin/kubernetes-validate'))) {
  run('python3', ['-m', 'venv', python]);
  run(join(python, 'bin/python'), ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', SCHEMAS]);
}
run(process.execPath, ['--test', '--test-reporter=spec', ...process.argv.slice(2), 'test/deploy/deploy.test.ts']);
