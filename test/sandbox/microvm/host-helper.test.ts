import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';

const HELPER = join(import.meta.dirname, '../../../guest/dist/contree-host-helper');
const KEYRING = join(import.meta.dirname, '../../support/processes/keyring.py');
const run = promisify(execFile);

test('confine: a program is not started when the process that asked for it is gone', async () => {
  const started = (parent: number) => run(HELPER, ['confine', '3', `parent=${parent}`, '--', '/bin/echo', 'started']);
  assert.equal((await started(process.pid)).stdout, 'started\n');
  // As the helper sees it when it was given to another parent on its way.
  await assert.rejects(started(process.ppid), { code: 1, stdout: '' });
});

test('confine: a program ends with the process that started it, whatever that is doing', async () => {
  const script = `"${HELPER}" confine 3 parent=$$ -- /bin/sh -c 'echo runs; exec sleep 1000' & wait`;
  const parent = spawn('/bin/bash', ['-c', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(parent.stdout, 'data');
  parent.kill('SIGKILL');
  // The program holds the other end, too.
  await once(parent.stdout, 'close');
});

test('confine: keys of the user are not in the session keyring of the program, and the helper tells so', async () => {
  const { stdout } = await run('/usr/bin/python3', [KEYRING, HELPER]);
  const [own, told, inside] = stdout.trim().split('\n');
  assert.equal(own, 'found', 'the key can be found without the helper');
  assert.deepEqual([told, inside], ['session keyring: empty', 'not found']);
});

/** Runs the helper as in a jail, where it starts `ls`; returns exit code and output. `engine` has the other end of socket 9. */
async function inside(engine: string): Promise<readonly [number | null, string]> {
  const program = [HELPER, 'inside', '9', '--', '/bin/ls', '/proc/self/fd'];
  const script = `import os, socket, sys
engine, jail = socket.socketpair()
os.dup2(jail.fileno(), 9)
${engine}
os.execv(sys.argv[1], sys.argv[1:])`;
  const child = spawn('/usr/bin/python3', ['-c', script, ...program], { stdio: ['ignore', 'pipe', 'ignore'] });
  let said = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const [code] = (await once(child, 'close')) as [number | null];
  return [code, said];
}

test('inside: the program is started when it is allowed, without the descriptor that said so', async () => {
  const open = "engine.send(b'.'); os.set_inheritable(engine.fileno(), True)";
  const [code, said] = await inside(open);
  assert.equal(code, 0);
  const descriptors = said.trim().split('\n');
  assert.ok(descriptors.includes('0') && !descriptors.includes('9'), said);
});

test('inside: the program is not started when the engine is gone, even if it was allowed before', async () => {
  assert.deepEqual(await inside('engine.close(); jail.close()'), [1, '']);
  assert.deepEqual(await inside("engine.send(b'.'); engine.close(); jail.close()"), [1, '']);
});

test('inside: the program that asked ends with its parent, whoever still holds the socket', async () => {
  const script = `import os, signal, socket, sys
engine, jail = socket.socketpair()
output, words = os.pipe()
parent = os.fork()
if parent == 0:
    os.dup2(jail.fileno(), 9)
    os.dup2(words, 1)
    if os.fork() == 0: os.execv(sys.argv[1], sys.argv[1:])
    signal.pause()
jail.close(); os.close(words)
assert engine.recv(1)
os.kill(parent, signal.SIGKILL)
os.waitpid(parent, 0)
try: engine.send(b'.')
except BrokenPipeError: pass
sys.stdout.write(os.read(output, 100).decode() + 'end')`;
  const { stdout } = await run('/usr/bin/python3', ['-c', script, HELPER, 'inside', '9', '--', '/bin/echo', 'runs']);
  assert.equal(stdout, 'end');
});
