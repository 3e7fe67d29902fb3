import type { ConTree } from '../../contract/contree.ts';
import { fault } from '../../contract/errors.ts';
import { isFinished } from '../../contract/operation.ts';
import { operationEvents } from '../event-view.ts';
import { processResult, responseOf, summaryOf } from '../result.ts';
import { planExec } from '../run/plan.ts';
import { signalNumber } from '../run/signals.ts';
import type { ProjectContext } from './context.ts';

/** Returns the operations group of a project. */
export function projectOperations({ store, parts }: ProjectContext): ConTree['operations'] {
  return {
    list: async (query = {}) => store.operations.list(query).map(summaryOf),
    get: async (operation, { output_bytes: outputBytesMax } = {}) =>
      responseOf(store, parts.operations.current(store.operations.get(operation)), outputBytesMax),
    cancel: async (operation) => parts.operations.cancel(store.operations.get(operation)),
    events: (operation, query = {}, signal) => operationEvents(store, operation, query, signal),
  };
}

/** Returns the processes group of a project. */
export function projectProcesses(context: ProjectContext): ConTree['processes'] {
  const { store } = context;
  return {
    start: async (operation, spec) => {
      const instance = await context.instance(operation);
      const { spid } = await instance.start(planExec(spec, instance.main));
      return { spid };
    },
    get: async (operation, spid) => processResult(store, store.operations.get(operation), spid),
    kill: async (operation, spid, { signal = 'KILL' } = {}) => {
      const number = signalNumber(signal);
      await (await context.instance(operation)).kill(spid, number);
    },
    write: async (operation, spid, input) => {
      const stored = store.operations.get(operation);
      const { uuid, kind, status } = stored;
      if (kind === 'instance' && isFinished(status)) throw fault('INSTANCE_FINISHED', { operation: uuid, status });
      await (await context.parts.operations.instance(stored)).write(spid, input);
    },
    resize: async (operation, spid, size) => (await context.instance(operation)).resize(spid, size),
  };
}
