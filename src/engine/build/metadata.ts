import { posix } from 'node:path';
import type { ImageConfig } from '../../contract/image.ts';
import { limits } from '../../contract/limits.ts';
import { dockerfileFault } from '../../dockerfile/faults.ts';
import type { CommandForm, HealthcheckInstruction, Instruction } from '../../dockerfile/instruction.ts';
import { expandWord, expandWords, type Substitution } from '../../dockerfile/substitute.ts';

/** Shell of commands in shell form where nothing sets one. */
export const SHELL_DEFAULT: readonly string[] = ['/bin/sh', '-c'];

const VARIABLE = /^[^=\0]+$/u;
/** Ports of an image. */
const PORTS_MAX = 10_000;
const PORT = /^(?<first>\d{1,5})(?:-(?<last>\d{1,5}))?(?:\/(?<protocol>tcp|udp|sctp))?$/iu;

/** Instruction that changes nothing but the configuration. */
export type MetadataInstruction = Exclude<Instruction, { readonly kind: 'RUN' | 'COPY' | 'ADD' | 'ARG' }>;

/**
 * Returns the configuration that an instruction makes of another. An ENTRYPOINT drops the CMD of the base, as with Docker;
 * one of this stage stays. Faults: DOCKERFILE_INVALID.
 */
export function applyMetadata(
  config: ImageConfig,
  instruction: MetadataInstruction,
  substitution: Substitution,
  { hasOwnCmd }: { readonly hasOwnCmd: boolean },
): ImageConfig {
  const expand = (text: string): string => expandWord(text, substitution);
  switch (instruction.kind) {
    case 'ENV':
      return {
        ...config,
        env: bounded({ ...config.env, ...pairs(instruction.pairs, expand, instruction) }, instruction),
      };
    case 'LABEL':
      return {
        ...config,
        labels: bounded({ ...config.labels, ...pairs(instruction.pairs, expand, instruction) }, instruction),
      };
    case 'WORKDIR':
      return { ...config, cwd: posix.resolve(config.cwd || '/', needed(expand(instruction.value), instruction)) };
    case 'USER':
      return { ...config, user: needed(expand(instruction.value), instruction) };
    case 'STOPSIGNAL':
      return { ...config, stop_signal: signalOf(expand(instruction.value), instruction) };
    case 'MAINTAINER':
      return { ...config, author: instruction.value };
    case 'CMD':
      return { ...config, cmd: wordsOf(instruction.command, config) };
    case 'ENTRYPOINT':
      return { ...config, entrypoint: wordsOf(instruction.command, config), ...(!hasOwnCmd && { cmd: [] }) };
    case 'SHELL':
      return { ...config, shell: [...instruction.words] };
    case 'EXPOSE': {
      const ports = instruction.words.flatMap((word) => expandWords(word, substitution));
      return { ...config, exposed_ports: exposed(config.exposed_ports, ports, instruction) };
    }
    case 'VOLUME':
      return { ...config, volumes: merged(config.volumes, instruction.words.map(expand)) };
    case 'HEALTHCHECK':
      return { ...config, healthcheck: healthcheckOf(instruction) };
    default:
      return { ...config, onbuild: [...(config.onbuild ?? []), instruction.trigger] };
  }
}

/** Returns the words that run a command, in a shell where it is written for one. */
export function wordsOf(command: CommandForm, { shell }: ImageConfig): string[] {
  return command.form === 'exec' ? [...command.words] : [...(shell ?? SHELL_DEFAULT), command.expression];
}

function pairs(
  given: readonly { readonly name: string; readonly value: string }[],
  expand: (text: string) => string,
  { line }: Instruction,
): Record<string, string> {
  return Object.fromEntries(
    given.map(({ name, value }) => {
      const expanded = expand(name);
      if (!VARIABLE.test(expanded))
        throw dockerfileFault(line, `${JSON.stringify(expanded.slice(0, 40))} is not a name`);
      return [expanded, expand(value)];
    }),
  );
}

function bounded(table: Record<string, string>, { kind, line }: Instruction): Record<string, string> {
  const bytes = Object.entries(table).reduce((sum, [name, value]) => sum + name.length + value.length, 0);
  if (bytes <= limits.envBytesMax) return table;
  throw dockerfileFault(line, `all ${kind} together have more than ${limits.envBytesMax} characters`);
}

function needed(text: string, { kind, line }: Instruction): string {
  if (text !== '' && !text.includes('\0') && text.length <= limits.pathBytesMax) return text;
  throw dockerfileFault(line, `${kind} is empty, or too long, once its variables are replaced`);
}

function signalOf(text: string, { line }: Instruction): string {
  if (/^(?:SIG)?[A-Z][A-Z0-9+-]{1,15}$/iu.test(text) || /^\d{1,2}$/u.test(text)) return text;
  throw dockerfileFault(line, `${JSON.stringify(text.slice(0, 40))} is not a signal`);
}

/** Adds `80/tcp` for `80`, and each port of a range. */
function exposed(before: readonly string[] = [], added: readonly string[], { line }: Instruction): string[] {
  const ports = new Set(before);
  let named = before.length;
  for (const text of added) {
    const { first = '', last = first, protocol = 'tcp' } = PORT.exec(text)?.groups ?? {};
    const [from, to] = [Number(first), Number(last)];
    if (first === '' || from < 1 || to > 65_535 || to < from) {
      throw dockerfileFault(line, `${JSON.stringify(text.slice(0, 40))} is not a port such as 80, 53/udp or 8000-8010`);
    }
    // Counted with those that are named twice, before any is written out.
    named += to - from + 1;
    if (named > PORTS_MAX) throw dockerfileFault(line, `there are more than ${PORTS_MAX} ports`);
    for (let port = from; port <= to; port += 1) ports.add(`${port}/${protocol.toLowerCase()}`);
  }
  return [...ports].sort();
}

function merged(before: readonly string[] = [], added: readonly string[]): string[] {
  return [...new Set([...before, ...added])].sort();
}

function healthcheckOf(instruction: HealthcheckInstruction): NonNullable<ImageConfig['healthcheck']> {
  const { test, interval, timeout, startPeriod, startInterval, retries } = instruction;
  return {
    test: [...test],
    ...(interval > 0 && { interval }),
    ...(timeout > 0 && { timeout }),
    ...(startPeriod > 0 && { start_period: startPeriod }),
    ...(startInterval > 0 && { start_interval: startInterval }),
    ...(retries > 0 && { retries }),
  };
}
