import type { Cli } from '../cli.ts';
import type { Register } from '../command.ts';
import { formatAge, table, visible } from '../text.ts';
import { Project, type Point, type ProjectState, type Turn } from './project.ts';
import { discard } from './run-command.ts';

const PROMPT_SHOWN_MAX = 60;

export const undo: Register = (program, run) => {
  program
    .command('undo')
    .summary('go back to before the last turn of an agent')
    .description(
      'Take back what the commands of the last turn of an agent changed in the instance of this project ("contree install ' +
        'AGENT --hook IMAGE"). Your own folder is not touched.',
    )
    .option('-l, --list', 'list the turns instead')
    .action(
      run(async (cli, { list }: { readonly list?: boolean }) => {
        const project = await Project.at(cli.host.env, process.cwd());
        if (list) return await listed(cli, await project.state());
        await go(cli, project, (state) => {
          const turn = state.turns[state.position - 1];
          return turn && { turn, to: turn.before, position: state.position - 1 };
        });
      }),
    );
};

export const redo: Register = (program, run) => {
  program
    .command('redo')
    .summary('go forward again after "contree undo"')
    .description('Bring back what the next turn of an agent changed, after "contree undo".')
    .action(
      run(async (cli) => {
        await go(cli, await Project.at(cli.host.env, process.cwd()), (state) => {
          const turn = state.turns[state.position];
          return turn && { turn, to: turn.after, position: state.position + 1 };
        });
      }),
    );
};

interface Step {
  readonly turn: Turn;
  readonly to: Point;
  readonly position: number;
}

/** Goes to another point. The next command opens an instance there. */
async function go(cli: Cli, project: Project, stepOf: (state: ProjectState) => Step | undefined): Promise<void> {
  const contree = await cli.contree();
  let step: Step | undefined;
  await project.change(async (state) => {
    step = stepOf(state);
    if (step === undefined) return state;
    // An image that was removed meanwhile is said before anything is left.
    await contree.images.get(step.to.image, cli.signal);
    if (state.instance !== '') await discard(contree, state.instance);
    return { ...state, current: step.to, position: step.position, instance: '' };
  }, cli.signal);
  if (step === undefined) return await cli.print({ image: null }, 'there is no such turn\n');
  const { turn, to } = step;
  await cli.print({ image: to.image, turn }, `image ${to.image} · ${shownPrompt(turn)}\n`);
}

async function listed(cli: Cli, { turns, position }: ProjectState): Promise<void> {
  const rows = turns.map((turn, index) => [
    index < position ? 'done' : 'undone',
    formatAge(turn.at),
    turn.after.image,
    String(turn.commands.length),
    shownPrompt(turn),
  ]);
  await cli.print({ turns, position }, table([['TURN', 'BEGUN', 'IMAGE', 'CHANGES', 'PROMPT'], ...rows]));
}

function shownPrompt({ prompt }: Turn): string {
  return visible(prompt).slice(0, PROMPT_SHOWN_MAX) || '-';
}
