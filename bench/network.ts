import { execFile } from 'node:child_process';
import { createServer, type AddressInfo } from 'node:net';
import { promisify } from 'node:util';
import type { Instance } from '../src/sandbox/driver.ts';
import { bootSpec, microvmFolder, runScript } from '../test/support/microvm.ts';
import { samplePair } from './support/measure.ts';
import type { Place } from './support/place.ts';
import type { Report } from './support/report.ts';

const TRANSFERS = 5;
const MB = 1_000_000;
const BYTES = 32 * MB;
const PIECE = Buffer.alloc(256 * 1024);
/** Address by which a guest reaches the ports that the owner of the host opened. */
const GATEWAY = '10.118.37.1';
const execute = promisify(execFile);

interface Service extends AsyncDisposable {
  readonly port: number;
}

/** Opens a port of loopback that takes what a client sends, to its end, and then sends `bytes`. */
async function openService(bytes: number): Promise<Service> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    let left = bytes;
    const send = (): void => {
      while (left > 0) {
        const piece = PIECE.subarray(0, Math.min(left, PIECE.length));
        left -= piece.length;
        if (!socket.write(piece)) return;
      }
      socket.end();
    };
    socket.on('error', () => {});
    socket.on('drain', send);
    socket.on('end', send);
    socket.resume();
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

/** Runs a script in the guest, or on the host with the same programs. Throws when not all bytes arrived. */
async function transfer(script: string, instance?: Instance): Promise<void> {
  const { stdout } =
    instance === undefined ? await execute('busybox', ['sh', '-c', script]) : await runScript(instance, script);
  if (Number(stdout) !== BYTES) throw new Error(`${stdout.trim()} of ${BYTES} bytes arrived`);
}

/** Measures TCP of a guest through our filter, to a port of loopback that the owner opened, beside loopback itself. */
export async function benchNetwork(place: Place, report: Report): Promise<void> {
  report.section('Network');
  await using source = await openService(BYTES);
  await using sink = await openService(0);
  await using folder = await microvmFolder();
  await using bench = await folder.open({ network: { hostPorts: [source.port, sink.port] } });
  const network = { mode: 'public' } as const;
  await using instance = await bench.driver.start(bootSpec(bench.layers, { network }), AbortSignal.timeout(120_000));
  const download = (host: string): string => `nc ${host} ${source.port} < /dev/null | wc -c`;
  // `nc` ends when the service has taken everything.
  const upload = (host: string): string => `head -c ${BYTES} /dev/zero | nc ${host} ${sink.port} && echo ${BYTES}`;
  for (const [what, script] of [['download', download] as const, ['upload', upload] as const]) {
    const pair = await samplePair(
      TRANSFERS,
      () => transfer(script(GATEWAY), instance),
      () => transfer(script('127.0.0.1')),
    );
    const rate = (ms: number): number => BYTES / MB / (ms / 1_000);
    report.add({
      what: `${what} of 32 MB by a guest through the filter (${place.accelerator})`,
      value: rate(pair.ours.medianMs),
      unit: 'MB/s',
      peer: `the same programs over loopback ${rate(pair.peer.medianMs).toFixed(0)} MB/s`,
      note: `${pair.ratio.toFixed(1)} × the time; fastest ${rate(pair.ours.minMs).toFixed(0)}, slowest ${rate(pair.ours.maxMs).toFixed(0)} MB/s`,
    });
  }
}
