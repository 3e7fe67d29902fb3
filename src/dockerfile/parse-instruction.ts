import { dockerfileFault } from './faults.ts';
import { Flags } from './flags.ts';
import { type Heredoc, heredocWord } from './heredoc.ts';
import type { CommandForm, CopyInstruction, HealthcheckInstruction, Instruction, Pair } from './instruction.ts';
import type { RawInstruction } from './lines.ts';
import { nanoseconds } from './duration.ts';
import { type Escape, jsonWords, plainWords, quotedWords, splitFlags } from './words.ts';

type Parser = (raw: RawInstruction, flags: Flags, escape: Escape) => Instruction;

/** Parser of each instruction within a stage. */
const PARSERS: Readonly<Record<string, Parser>> = {
  RUN: parseRun,
  COPY: (raw, flags) => parseCopy('COPY', raw, flags),
  ADD: (raw, flags) => parseCopy('ADD', raw, flags),
  ARG: parseArg,
  ENV: (raw, _flags, escape) => ({ ...written(raw), kind: 'ENV', pairs: pairsOf(raw, escape) }),
  LABEL: (raw, _flags, escape) => ({ ...written(raw), kind: 'LABEL', pairs: pairsOf(raw, escape) }),
  WORKDIR: (raw) => ({ ...written(raw), kind: 'WORKDIR', value: textOf(raw) }),
  USER: (raw) => ({ ...written(raw), kind: 'USER', value: textOf(raw) }),
  STOPSIGNAL: (raw) => ({ ...written(raw), kind: 'STOPSIGNAL', value: textOf(raw) }),
  MAINTAINER: (raw) => ({ ...written(raw), kind: 'MAINTAINER', value: textOf(raw) }),
  CMD: (raw) => ({ ...written(raw), kind: 'CMD', command: commandOf(raw.rest, raw.line) }),
  ENTRYPOINT: (raw) => ({ ...written(raw), kind: 'ENTRYPOINT', command: commandOf(raw.rest, raw.line) }),
  SHELL: parseShell,
  EXPOSE: (raw) => ({ ...written(raw), kind: 'EXPOSE', words: some(raw, plainWords(raw.rest)) }),
  VOLUME: (raw) => ({
    ...written(raw),
    kind: 'VOLUME',
    words: some(raw, jsonWords(raw.rest, raw.line) ?? plainWords(raw.rest)),
  }),
  HEALTHCHECK: parseHealthcheck,
  ONBUILD: parseOnbuild,
};

/** Parses an instruction other than FROM. Faults: DOCKERFILE_INVALID. */
export function parseInstruction(raw: RawInstruction, escape: Escape): Instruction {
  const parse = Object.hasOwn(PARSERS, raw.keyword) ? PARSERS[raw.keyword] : undefined;
  if (parse === undefined) {
    throw dockerfileFault(raw.line, `${JSON.stringify(raw.keyword.slice(0, 40))} is not an instruction`);
  }
  const flags = raw.keyword === 'ONBUILD' ? new Flags({ ...raw, flags: [] }) : new Flags(raw);
  return parse(raw, flags, escape);
}

function written({ line, text }: RawInstruction): { readonly line: number; readonly text: string } {
  return { line, text };
}

function commandOf(text: string, line: number): CommandForm {
  const words = jsonWords(text, line);
  return words === undefined ? { form: 'shell', expression: text } : { form: 'exec', words };
}

/** Returns the refusal of what BuildKit, too, allows only to builds that were granted an entitlement. */
function notGranted(flag: string, entitlement: string, line: number): Error {
  return dockerfileFault(
    line,
    `RUN ${flag} needs the entitlement ${entitlement}, which no build is granted; leave it out`,
  );
}

function parseRun(raw: RawInstruction, flags: Flags): Instruction {
  const { line, rest, heredocs } = raw;
  const network = flags.text('network') ?? 'default';
  if (network !== 'default' && network !== 'none') {
    if (network !== 'host')
      throw dockerfileFault(line, `--network is default, none or host; not ${network.slice(0, 40)}`);
    throw notGranted('--network=host', 'network.host', line);
  }
  const security = flags.text('security') ?? 'sandbox';
  if (security !== 'sandbox') {
    if (security !== 'insecure')
      throw dockerfileFault(line, `--security is sandbox or insecure; not ${security.slice(0, 40)}`);
    throw notGranted('--security=insecure', 'security.insecure', line);
  }
  const command = commandOf(rest, line);
  const empty = command.form === 'exec' ? command.words.length === 0 : command.expression === '';
  if (empty) throw dockerfileFault(line, 'RUN needs a command');
  return { ...written(raw), kind: 'RUN', command, heredocs, mounts: flags.list('mount'), network };
}

function parseCopy(kind: 'COPY' | 'ADD', raw: RawInstruction, flags: Flags): CopyInstruction {
  const { line, rest, heredocs } = raw;
  const words = few(raw, jsonWords(rest, line) ?? copyWords(rest, heredocs, line));
  const destination = words.at(-1);
  if (destination === undefined || words.length < 2) {
    throw dockerfileFault(line, `${kind} needs at least a source and a destination`);
  }
  const named = words.slice(0, -1).map((word) => ({ word, heredoc: heredocWord(word, heredocs, line) }));
  if (heredocWord(destination, heredocs, line)) {
    throw dockerfileFault(line, `the destination of ${kind} cannot be a here-document`);
  }
  return {
    ...written(raw),
    kind,
    sources: named.filter(({ heredoc }) => heredoc === undefined).map(({ word }) => word),
    contents: named.map(({ heredoc }) => heredoc).filter((heredoc) => heredoc !== undefined),
    destination,
    from: flags.text('from'),
    chown: flags.text('chown'),
    chmod: flags.text('chmod'),
    checksum: flags.text('checksum'),
    exclude: flags.list('exclude'),
    link: flags.isOn('link'),
    parents: flags.isOn('parents'),
    unpack: flags.text('unpack') === undefined ? undefined : flags.isOn('unpack'),
  };
}

/** Splits at spaces, but keeps the mark of a here-document whole: its name may be quoted with spaces in it. */
function copyWords(text: string, heredocs: readonly Heredoc[], line: number): string[] {
  if (heredocs.length === 0) return plainWords(text);
  // `<< EOF` is one mark.
  const words = quotedWords(text.replaceAll(/(^|\s)(\d*<<-?)[ \t]+(?=[^\s<])/gu, '$1$2'), '\\');
  const marks = words.filter((word) => heredocWord(word, heredocs, line) !== undefined);
  if (marks.length < heredocs.length) throw dockerfileFault(line, 'a here-document is neither source nor destination');
  return words;
}

function parseArg(raw: RawInstruction, _flags: Flags, escape: Escape): Instruction {
  const args = some(raw, quotedWords(raw.rest, escape)).map((word) => {
    const equals = word.indexOf('=');
    const name = equals < 0 ? word : word.slice(0, equals);
    if (name === '') throw dockerfileFault(raw.line, 'ARG needs a name before the =');
    return { name, value: equals < 0 ? undefined : word.slice(equals + 1) };
  });
  return { ...written(raw), kind: 'ARG', args };
}

/** Parses `name=value …`, or the old form `name value` in which the value is the rest of the line. */
function pairsOf(raw: RawInstruction, escape: Escape): readonly Pair[] {
  const { keyword, rest, line } = raw;
  const words = few(raw, quotedWords(rest, escape));
  const [first] = words;
  if (first === undefined) throw dockerfileFault(line, `${keyword} needs a name and a value`);
  if (!first.includes('=')) {
    const [, name = '', value] = /^(\S+)\s+([^]*)$/u.exec(rest) ?? [];
    if (value === undefined) throw dockerfileFault(line, `${keyword} needs a name and a value`);
    return [{ name, value }];
  }
  return words.map((word) => {
    const equals = word.indexOf('=');
    if (equals < 0) throw dockerfileFault(line, `${keyword}: ${JSON.stringify(word)} lacks the =`);
    if (equals === 0) throw dockerfileFault(line, `${keyword} needs a name before the =`);
    return { name: word.slice(0, equals), value: word.slice(equals + 1) };
  });
}

function textOf({ keyword, rest, line }: RawInstruction): string {
  if (rest === '') throw dockerfileFault(line, `${keyword} needs an argument`);
  return rest;
}

/** Words of one instruction. */
const WORDS_MAX = 10_000;

function few({ keyword, line }: RawInstruction, words: string[]): string[] {
  if (words.length > WORDS_MAX) throw dockerfileFault(line, `${keyword} has more than ${WORDS_MAX} words`);
  return words;
}

function some(raw: RawInstruction, given: string[]): readonly string[] {
  const { keyword, line } = raw;
  const words = few(raw, given);
  if (words.every((word) => word.trim() === '')) throw dockerfileFault(line, `${keyword} needs an argument`);
  if (words.some((word) => word.trim() === '')) throw dockerfileFault(line, `${keyword} has an empty argument`);
  return words;
}

function parseShell(raw: RawInstruction): Instruction {
  const words = jsonWords(raw.rest, raw.line) ?? [];
  if (words.length === 0) throw dockerfileFault(raw.line, 'SHELL takes a JSON list, such as ["/bin/bash", "-c"]');
  return { ...written(raw), kind: 'SHELL', words };
}

function parseHealthcheck(raw: RawInstruction, flags: Flags): HealthcheckInstruction {
  const { line } = raw;
  const [, type = '', rest = ''] = /^(\S+)\s*([^]*)$/u.exec(raw.rest) ?? [];
  const duration = (name: string): number => nanoseconds(flags.text(name), name, line);
  const retries = flags.text('retries') ?? '0';
  if (!/^\d{1,9}$/u.test(retries)) throw dockerfileFault(line, `HEALTHCHECK --retries=${retries} is not a number`);
  return {
    ...written(raw),
    kind: 'HEALTHCHECK',
    test: healthTest(type.toUpperCase(), rest, line),
    interval: duration('interval'),
    timeout: duration('timeout'),
    startPeriod: duration('start-period'),
    startInterval: duration('start-interval'),
    retries: Number(retries),
  };
}

function healthTest(type: string, rest: string, line: number): readonly string[] {
  if (type === 'NONE' && rest === '') return ['NONE'];
  if (type !== 'CMD') throw dockerfileFault(line, 'HEALTHCHECK takes NONE, or CMD and a command');
  const command = commandOf(rest, line);
  if (command.form === 'exec' && command.words.length > 0) return ['CMD', ...command.words];
  if (command.form === 'shell' && command.expression !== '') return ['CMD-SHELL', command.expression];
  throw dockerfileFault(line, 'HEALTHCHECK CMD needs a command');
}

function parseOnbuild(raw: RawInstruction, _flags: Flags, escape: Escape): Instruction {
  const { line, text } = raw;
  const trigger = text.replace(/^\S+\s*/u, '');
  const [, word = '', after = ''] = /^(\S+)\s*([^]*)$/u.exec(trigger.split('\n')[0] ?? '') ?? [];
  const keyword = word.toUpperCase();
  if (['ONBUILD', 'FROM', 'MAINTAINER', ''].includes(keyword)) {
    throw dockerfileFault(line, keyword === '' ? 'ONBUILD needs an instruction' : `ONBUILD cannot hold ${keyword}`);
  }
  // Parsed now, so that a mistake shows where it is and not in the build of another image.
  const { flags, rest } = splitFlags(after);
  parseInstruction({ ...raw, keyword, flags, rest: rest.trim() }, escape);
  return { line, text, kind: 'ONBUILD', trigger };
}
