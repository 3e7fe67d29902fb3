import type { ArgInstruction } from './instruction.ts';
import { expandWord, type Substitution, Work } from './substitute.ts';
import type { Escape } from './words.ts';

/** Arguments that every RUN gets when they are given, although no ARG declares them; they are not part of what it depends on. */
export const PROXY_ARGS: ReadonlySet<string> = new Set(
  ['HTTP_PROXY', 'HTTPS_PROXY', 'FTP_PROXY', 'NO_PROXY', 'ALL_PROXY'].flatMap((name) => [name, name.toLowerCase()]),
);

/** Arguments given to a build, and those that describe it. */
export interface GivenArgs {
  /** `--build-arg`. */
  readonly build: ReadonlyMap<string, string>;
  /** TARGETPLATFORM, BUILDPLATFORM and their parts. */
  readonly platform: ReadonlyMap<string, string>;
}

/** Returns the values of the ARG instructions before the first FROM, with those of the platform. */
export function globalScope(
  args: readonly ArgInstruction[],
  given: GivenArgs,
  escape: Escape,
): ReadonlyMap<string, string> {
  const variables = new Map(given.platform);
  const work = new Work();
  for (const { args: declared, line } of args) {
    for (const { name, value } of declared) {
      const chosen = given.build.get(name) ?? (value && expandWord(value, { variables, escape, line, work }));
      if (chosen !== undefined) variables.set(name, chosen);
    }
  }
  return variables;
}

/** Variables of a stage: its ARGs, and over them the environment of its image. */
export class StageScope {
  readonly #given: GivenArgs;
  readonly #globals: ReadonlyMap<string, string>;
  readonly #escape: Escape;
  readonly #args = new Map<string, string>();
  readonly #consumed: Set<string>;

  /** `consumed` gathers the names of build arguments that an ARG declares. */
  constructor(given: GivenArgs, globals: ReadonlyMap<string, string>, escape: Escape, consumed: Set<string>) {
    this.#given = given;
    this.#globals = globals;
    this.#escape = escape;
    this.#consumed = consumed;
  }

  /** Puts an ARG into effect. One without a value and without a default takes that of the same name before FROM. */
  declare(instruction: ArgInstruction, env: Readonly<Record<string, string>>): void {
    const substitution = this.substitution(instruction.line, env);
    for (const { name, value } of instruction.args) {
      this.#consumed.add(name);
      const fallback = value === undefined ? this.#globals.get(name) : expandWord(value, substitution);
      const chosen = this.#given.build.get(name) ?? fallback;
      if (chosen !== undefined) this.#args.set(name, chosen);
    }
  }

  /** Returns the variables for the texts of one instruction. */
  substitution(line: number, env: Readonly<Record<string, string>>): Substitution {
    return {
      variables: new Map([...this.#args, ...Object.entries(env)]),
      escape: this.#escape,
      line,
      work: new Work(),
    };
  }

  /** Returns the arguments that a RUN sees besides the environment of its image. */
  argsOfRun(env: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
    return Object.fromEntries([...this.#args].filter(([name]) => !Object.hasOwn(env, name)));
  }

  /** Returns the proxy settings given to the build that no ARG declares. */
  proxyArgs(env: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
    const given = [...this.#given.build].filter(([name]) => PROXY_ARGS.has(name));
    return Object.fromEntries(given.filter(([name]) => !this.#args.has(name) && !Object.hasOwn(env, name)));
  }
}
