import { createInterface } from 'node:readline';
import { FaultProxy, type Fault } from './fault-proxy.ts';

/**
 * A fault proxy on a host of a test's network: `fault-proxy-process.ts ADDRESS PORT`, of the server behind it. Prints its own
 * port. Every line of its standard input is a fault, as JSON, that all requests have from then on; `{}` is none.
 */
const [address = '', port = ''] = process.argv.slice(2);
const proxy = await FaultProxy.open(Number(port), address);
process.stdout.write(`${proxy.port}\n`);
createInterface({ input: process.stdin }).on('line', (line) => {
  const fault = JSON.parse(line) as Fault;
  proxy.fault = () => fault;
});
