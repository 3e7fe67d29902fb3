import { appendFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { tryLock } from '../../../src/client/local/start-lock.ts';
import { fault } from '../../../src/contract/errors.ts';
import { runEngineProcess } from '../../../src/http/engine-life.ts';
import { openLog } from '../../../src/http/log.ts';
import { ScriptedContree } from './contree.ts';

/** An engine process with the scripted ConTree; its image is tagged `base`. Tests run it as a program. */
const { values } = parseArgs({
  options: {
    'data-dir': { type: 'string', default: '' },
    'engine-version': { type: 'string', default: '1.2.3' },
    'idle-ms': { type: 'string', default: '0' },
    /** Way in which the start fails. */
    fail: { type: 'string', default: '' },
  },
});
const dataDir = values['data-dir'];
mkdirSync(dataDir, { recursive: true, mode: 0o700 });
appendFileSync(join(dataDir, 'starts'), `${process.pid}\n`);
if (values.fail === 'crash') {
  process.stderr.write('Error: cannot find the kernel\n');
  process.exit(3);
}

await runEngineProcess({
  version: values['engine-version'],
  log: openLog('info', 2),
  socket: join(dataDir, 'engine.sock'),
  tokens: join(dataDir, 'tokens.json'),
  idleMs: Number(values['idle-ms']),
  readyDescriptor: 3,
  open: async () => {
    if (values.fail === 'driver') throw fault('DRIVER_UNAVAILABLE', { reason: 'no QEMU' });
    const lock = tryLock(join(dataDir, 'store.lock'));
    if (lock === undefined) throw fault('STORE_LOCKED', { pid: 1 });
    const contree = new ScriptedContree();
    contree.addImage({ '/etc/passwd': 'root:x:0\n' }, 'base');
    const close = async (): Promise<void> => {
      await contree[Symbol.asyncDispose]();
      lock[Symbol.dispose]();
    };
    const busy = async (): Promise<boolean> => contree.busy;
    return { contreeFor: () => contree, busy, leave: async () => undefined, [Symbol.asyncDispose]: close };
  },
});
