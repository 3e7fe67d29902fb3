import { dockerfileFault } from './faults.ts';
import type { RawInstruction } from './lines.ts';

type FlagKind = 'text' | 'list' | 'switch';

/** Flags of each instruction, as the Dockerfile reference lists them. */
const FLAGS: Readonly<Record<string, Readonly<Record<string, FlagKind>>>> = {
  FROM: { platform: 'text' },
  RUN: { mount: 'list', network: 'text', security: 'text' },
  COPY: { from: 'text', chown: 'text', chmod: 'text', link: 'switch', parents: 'switch', exclude: 'list' },
  ADD: {
    chown: 'text',
    chmod: 'text',
    link: 'switch',
    checksum: 'text',
    exclude: 'list',
    unpack: 'switch',
  },
  HEALTHCHECK: {
    interval: 'text',
    timeout: 'text',
    'start-period': 'text',
    'start-interval': 'text',
    retries: 'text',
  },
};

/** Flags of one instruction; the time to gather them grows with the square. */
const FLAGS_MAX = 200;

/** Flags of one instruction by name. */
export class Flags {
  readonly #values = new Map<string, string[]>();

  /** Parses the flags. Faults: DOCKERFILE_INVALID for one that the instruction does not have, or that is given twice. */
  constructor({ keyword, flags, line }: RawInstruction) {
    const known = FLAGS[keyword] ?? {};
    if (flags.length > FLAGS_MAX) throw dockerfileFault(line, `${keyword} has more than ${FLAGS_MAX} flags`);
    for (const flag of flags) {
      const [, name = '', value] = /^--([^=]*)(?:=([^]*))?$/u.exec(flag) ?? [];
      const kind = Object.hasOwn(known, name) ? known[name] : undefined;
      if (kind === undefined) throw dockerfileFault(line, `${keyword} --${name} is not supported`);
      if (kind !== 'switch' && value === undefined) throw dockerfileFault(line, `${keyword} --${name} needs a value`);
      if (kind === 'switch' && !['true', 'false', undefined].includes(value)) {
        throw dockerfileFault(line, `${keyword} --${name} is true or false, not ${JSON.stringify(value)}`);
      }
      const values = this.#values.get(name) ?? [];
      if (kind !== 'list' && values.length > 0) throw dockerfileFault(line, `${keyword} --${name} is given twice`);
      this.#values.set(name, [...values, value ?? 'true']);
    }
  }

  text(name: string): string | undefined {
    return this.#values.get(name)?.[0];
  }

  list(name: string): readonly string[] {
    return this.#values.get(name) ?? [];
  }

  isOn(name: string): boolean {
    return this.text(name) === 'true';
  }
}
