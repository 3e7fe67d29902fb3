import type { SignIn } from '../tools/index.ts';
import type { McpContext } from './context.ts';
import type { Questions } from './questions.ts';

/** Returns the sign-in function of one call: URL elicitation where the client supports it, otherwise instructions. */
export function signInFor(
  { desk, inlineWaitMs }: McpContext,
  questions: Questions,
  signal: AbortSignal,
): (registry: string) => Promise<SignIn> {
  return async (registry) => {
    if (!desk.available) return { status: 'unsupported' };
    const about = `sign in to ${registry}`;
    const answer = questions.answerTo(about);
    const page = answer?.state.page;
    if (answer !== undefined && page !== undefined) {
      if (!answer.accepted) {
        desk.close(page);
        return { status: 'declined' };
      }
      // Accepting only means that the page was opened.
      const done = await desk.wait(page, inlineWaitMs, signal);
      return { status: done ? 'authenticated' : 'pending' };
    }
    const { id, url } = await desk.open(registry);
    if (!questions.possible('page')) return { status: 'unsupported', url };
    const message = `Sign in to ${registry}: enter a read-only token on a page of this machine.`;
    return await questions.put({ about, message, url }, { page: id });
  };
}
