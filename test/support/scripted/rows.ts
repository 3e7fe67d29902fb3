import { CONTREE_API } from '../../../src/contract/api/index.ts';
import type { ConTree } from '../../../src/contract/contree.ts';

type GroupName = keyof typeof CONTREE_API;
type AnyMethod = (...args: readonly unknown[]) => unknown;
type ArgumentsOf<Method> = Method extends (...args: infer Arguments) => unknown ? Arguments : never;

/** Group whose methods tests may replace. */
export type Mutable<Group> = { -readonly [Name in keyof Group]: Group[Name] };

/** Methods of the API table for tests: each records its calls and runs a script. */
export class ScriptedRows {
  readonly #calls: { readonly method: string; readonly args: readonly unknown[] }[] = [];

  /** Returns the arguments of all calls of a method so far. A method that a test has replaced is not recorded. */
  calls<Group extends GroupName, Name extends keyof ConTree[Group] & string>(
    group: Group,
    name: Name,
  ): ArgumentsOf<ConTree[Group][Name]>[] {
    const calls = this.#calls.filter(({ method }) => method === `${group}.${name}`);
    return calls.map(({ args }) => args as ArgumentsOf<ConTree[Group][Name]>);
  }

  /** Makes the methods of a group, one per row. A method without a script throws. */
  protected scripted<Group extends GroupName>(group: Group, script: Partial<ConTree[Group]>): Mutable<ConTree[Group]> {
    const answers = script as Readonly<Record<string, AnyMethod | undefined>>;
    const methods = Object.keys(CONTREE_API[group]).map((name) => {
      const method = `${group}.${name}`;
      const called: AnyMethod = (...args) => {
        this.#calls.push({ method, args });
        const answer = answers[name];
        if (answer === undefined) throw new Error(`${method} is not scripted`);
        return answer(...args);
      };
      return [name, called];
    });
    return Object.fromEntries(methods) as Mutable<ConTree[Group]>;
  }
}
