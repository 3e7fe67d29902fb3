import { fault } from '../../contract/errors.ts';
import { imageReference, type Cli } from '../cli.ts';
import { diffText } from '../diff-text.ts';
import { table, visible } from '../text.ts';
import type { ShellSession } from './session.ts';
import type { Moment, Timeline } from './timeline.ts';

/** One command of the shell itself. Returns the text to print. */
interface ShellCommand {
  readonly usage: string;
  readonly help: string;
  readonly run: (cli: Cli, session: ShellSession, argument: string) => Promise<string>;
}

const LINE_SHOWN_MAX = 60;

/** Commands of the shell itself; a line that begins with their name and a colon is not executed in the instance. */
const COMMANDS: Readonly<Record<string, ShellCommand>> = {
  undo: {
    usage: ':undo',
    help: 'go back to the files before the last line that changed some',
    run: async (_cli, session) => moved(session, (timeline) => timeline.back(), 'there is nothing to undo'),
  },
  redo: {
    usage: ':redo',
    help: 'go forward again after :undo',
    run: async (_cli, session) => moved(session, (timeline) => timeline.forward(), 'there is nothing to redo'),
  },
  log: {
    usage: ':log',
    help: 'list the images of this session with the lines that made them',
    run: async (_cli, session) => log(session),
  },
  goto: {
    usage: ':goto IMAGE',
    help: 'continue with the files of an image: its number in :log, UUID or tag',
    run: goTo,
  },
  branch: {
    usage: ':branch [TAG]',
    help: 'name the current image with a tag, or say how to open another shell on it',
    run: branch,
  },
  diff: {
    usage: ':diff [IMAGE]',
    help: 'show what the last line changed, or what is different from an image',
    run: diff,
  },
  help: { usage: ':help', help: 'show these commands', run: async () => help() },
  quit: { usage: ':quit', help: 'leave, as Ctrl-D and exit do', run: async () => '' },
};

/** Returns the exit code with which a line leaves the shell, null for that of the line before; undefined for other lines. */
export function quitCode(line: string): number | null | undefined {
  const [quits, code] = /^(?::quit|:q|logout|exit(?:\s+(\d{1,3}))?)$/u.exec(line.trim()) ?? [];
  if (quits === undefined) return undefined;
  return code === undefined ? null : Number(code) % 256;
}

/** Returns the command of the shell that a line is, or undefined for a line of the guest, such as `: > file`. */
export function shellCommand(line: string): ((cli: Cli, session: ShellSession) => Promise<string>) | undefined {
  const [, name, argument = ''] = /^:([a-z]+)(?:\s+(\S.*?))?\s*$/u.exec(line.trim()) ?? [];
  if (name === undefined) return undefined;
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (command === undefined) {
    throw fault('ARGUMENT_INVALID', { reason: `:${name} is no command of this shell; :help lists them` });
  }
  return (cli, session) => command.run(cli, session, argument);
}

/** Moves along the timeline and continues there. A session that cannot be opened there stays where it was. */
async function moved(
  session: ShellSession,
  move: (timeline: Timeline) => Moment | undefined,
  none: string,
): Promise<string> {
  const { timeline } = session;
  const before = timeline.current;
  const to = move(timeline);
  if (to === undefined) return `${none}\n`;
  try {
    await session.enter();
  } catch (error) {
    timeline.go(before.image, before.line);
    throw error;
  }
  return `image ${to.image}\n`;
}

function log({ timeline: { moments, current } }: ShellSession): string {
  const rows = moments.map(({ image, line, parent }, index) => {
    const from = parent === undefined ? '-' : String(moments.indexOf(parent));
    const mark = image === current.image ? '*' : ' ';
    return [`${mark}${index}`, image, from, visible(line).slice(0, LINE_SHOWN_MAX)];
  });
  return table([[' #', 'IMAGE', 'FROM', 'LINE'], ...rows]);
}

async function goTo(cli: Cli, session: ShellSession, argument: string): Promise<string> {
  if (argument === '') throw fault('ARGUMENT_INVALID', { reason: 'name an image: :goto IMAGE' });
  const image = await imageOf(cli, session, argument);
  return moved(session, (timeline) => timeline.go(image, argument), '');
}

/** Returns the UUID of an image that is named by its number in the log, UUID or tag. */
async function imageOf(cli: Cli, { timeline }: ShellSession, name: string): Promise<string> {
  const numbered = /^\d{1,6}$/u.test(name) ? timeline.moments[Number(name)] : undefined;
  if (numbered !== undefined) return numbered.image;
  return (await (await cli.contree()).images.get(imageReference(name), cli.signal)).uuid;
}

async function branch(cli: Cli, { timeline }: ShellSession, tag: string): Promise<string> {
  const { image } = timeline.current;
  if (tag === '') return `contree shell ${image}\n`;
  await (await cli.contree()).tags.set(image, { tag }, cli.signal);
  return `tag:${tag} is image ${image}\n`;
}

async function diff(cli: Cli, session: ShellSession, argument: string): Promise<string> {
  const { current } = session.timeline;
  const from = argument === '' ? current.parent?.image : await imageOf(cli, session, argument);
  if (from === undefined) return 'no line has changed anything\n';
  const found = await (await cli.contree()).images.diff(from, { to: current.image }, cli.signal);
  return diffText(cli, found) || 'nothing is different\n';
}

function help(): string {
  return table(Object.values(COMMANDS).map(({ usage, help: text }) => [usage, text]));
}
