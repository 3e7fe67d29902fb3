const KEY = 'contree-theme';
/** @type {readonly ('system' | 'light' | 'dark')[]} */
const THEMES = ['system', 'light', 'dark'];

/** @returns {'system' | 'light' | 'dark'} */
export function theme() {
  return THEMES.find((name) => name === localStorage.getItem(KEY)) ?? 'system';
}

/** Applies the chosen theme; the choice is stored in this browser. */
export function applyTheme() {
  const name = theme();
  if (name === 'system') document.documentElement.removeAttribute('data-theme');
  else document.documentElement.setAttribute('data-theme', name);
}

/** @returns {'system' | 'light' | 'dark'} */
export function nextTheme() {
  const next = THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length] ?? 'system';
  localStorage.setItem(KEY, next);
  applyTheme();
  return next;
}
