import { setTimeout as delay } from 'node:timers/promises';
import { serveMcpStdio } from '../../../src/mcp/stdio.ts';
import { ScriptedContree } from '../scripted/contree.ts';

/** A stdio MCP server on a scripted ConTree, for tests of the process: start, streams, end, memory. */
const contree = new ScriptedContree({
  // Runs forever, like an operation of an engine.
  work: ({ out, signalled }) => (out('working\n'), signalled.then(() => -1)),
});
contree.addImage({ '/etc/os-release': 'ID=scripted\n' }, 'common/base');
// Longer than any test waits for its end.
if (process.argv.includes('--hang')) contree[Symbol.asyncDispose] = () => delay(60_000);
await serveMcpStdio(() => Promise.resolve(contree), { version: '0' });
if (process.argv.includes('--memory')) {
  const { user, system } = process.cpuUsage();
  process.stderr.write(`rss ${process.memoryUsage().rss}\ncpu ${Math.round((user + system) / 1_000)} ms\n`);
}
process.exit(0);
