import { join } from 'node:path';
import { command } from '../../scripts/support/command.ts';
import { cached, debianRoot, layoutOf, packagesKey } from '../../scripts/support/debian-image.ts';

/** An image with the programs of everyday work, and what `WORKLOAD` and `npm ci` need. */
export interface WorkloadImage {
  /** Root filesystem, plain tar. */
  readonly tar: string;
  /** The same as an OCI layout directory with the single reference `debian`. */
  readonly layout: string;
}

const PACKAGES = ['python3', 'python3-venv', 'gcc', 'libc6-dev', 'git', 'nodejs', 'npm', 'ca-certificates'];
const WHEELS = ['numpy', 'pandas'];
/** Tags of the wheels that Debian 12's Python installs. */
const PYTHON = ['--python-version', '3.11', '--implementation', 'cp'];
const PLATFORMS = ['manylinux2014_x86_64', 'manylinux_2_28_x86_64'].flatMap((name) => ['--platform', name]);

/** Builds the image once, with the wheels, so that the speed of a package index does not count. */
export async function workloadImage(): Promise<WorkloadImage> {
  const folder = await cached(`workload-${packagesKey([...PACKAGES, ...WHEELS])}`, async (staged) => {
    const [wheels, tar] = [join(staged, 'wheels'), join(staged, 'root.tar')];
    const download = ['-m', 'pip', 'download', '-q', '--only-binary=:all:', ...PYTHON, ...PLATFORMS];
    await command('python3', [...download, '-d', wheels, ...WHEELS]);
    await debianRoot(PACKAGES, tar, [`--customize-hook=copy-in ${wheels} /opt`, '--customize-hook=mkdir "$1/work"']);
    await layoutOf(tar, join(staged, 'layout'));
  });
  return { tar: join(folder, 'root.tar'), layout: join(folder, 'layout') };
}

const LOOP = 'int main(void){volatile unsigned x=0;for(unsigned i=0;i<200000000u;i++)x+=i;return 0;}';
const FORKS = 'import subprocess; [subprocess.run(["/bin/true"], check=True) for _ in range(300)]';
const GIT = 'git -c user.name=bench -c user.email=bench@localhost -c init.defaultBranch=main';

/**
 * The script of the design (§10) in `/work`: a virtual environment, two large packages, their import, a compiler, 200 million
 * turns of a loop, a commit of 300 files, and 300 processes.
 */
export const WORKLOAD: string = [
  'set -e; export HOME=/work; cd /work; python3 -m venv env',
  'env/bin/pip install -q --no-index --find-links /opt/wheels numpy pandas',
  'env/bin/python -c "import numpy, pandas"',
  `echo '${LOOP}' > loop.c; gcc -O1 -o loop loop.c; ./loop`,
  'mkdir repo; cd repo; for i in $(seq 300); do echo "file $i" > f$i; done',
  `${GIT} init -q; git add .; ${GIT} commit -q -m files`,
  `python3 -c '${FORKS}'`,
  'echo finished',
].join('\n');
