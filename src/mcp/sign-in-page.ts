/** Page on which a user enters registry credentials. Plain HTML: no script, no external resources. */

export interface SignInForm {
  readonly registry: string;
  /** Page on which that registry issues tokens, if known, and the scope to choose. */
  readonly tokenPage?: { readonly url: string; readonly scope: string };
  /** Reason why the last attempt was refused. */
  readonly problem?: string;
}

const STYLE = `body{font:16px/1.5 system-ui,sans-serif;max-width:32rem;margin:10vh auto;padding:0 1rem;color-scheme:light dark}
label{display:block;margin:1rem 0 .25rem}input{font:inherit;width:100%;padding:.5rem;box-sizing:border-box}
button{font:inherit;margin-top:1.5rem;padding:.5rem 1.5rem}.problem{color:#b00020}`;

export function signInPage({ registry, tokenPage, problem }: SignInForm, nonce: string): string {
  const host = escapeHtml(registry);
  const advice =
    tokenPage === undefined
      ? ''
      : `<p>Use a token with the least rights (${escapeHtml(tokenPage.scope)}): ` +
        `<a href="${escapeHtml(tokenPage.url)}" rel="noreferrer" target="_blank">make one</a>.</p>`;
  return page(
    nonce,
    `Sign in to ${host}`,
    `<h1>Sign in to ${host}</h1>
<p>ConTree keeps the credentials on this machine, readable only by you. No model sees them.</p>
${advice}${problem === undefined ? '' : `<p class="problem">${escapeHtml(problem)}</p>`}
<form method="post" autocomplete="off">
<label for="username">User name</label><input id="username" name="username" required maxlength="1024" autofocus>
<label for="secret">Token or password</label><input id="secret" name="secret" type="password" required maxlength="65536">
<button>Sign in</button>
</form>`,
  );
}

export function messagePage(title: string, text: string, nonce: string): string {
  return page(nonce, escapeHtml(title), `<h1>${escapeHtml(title)}</h1><p>${escapeHtml(text)}</p>`);
}

function page(nonce: string, title: string, body: string): string {
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>${title}</title>
<style nonce="${nonce}">${STYLE}</style></head><body>${body}</body></html>`;
}

function escapeHtml(text: string): string {
  const entities: Readonly<Record<string, string>> = {
    '&': '&amp;',
    '<': '&lt;',
    '>': '&gt;',
    '"': '&quot;',
    "'": '&#39;',
  };
  return text.replaceAll(/[&<>"']/gu, (character) => entities[character] ?? '');
}
