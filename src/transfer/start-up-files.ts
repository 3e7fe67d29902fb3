/** Folders whose content programs of this machine run or obey by themselves. */
const FOLDERS = [
  // Version control: hooks, and settings that name programs (git-config(1): core.hooksPath, core.fsmonitor).
  '.git',
  '.hg',
  '.husky',
  // Who may sign in, and what ssh starts (ssh_config(5): ProxyCommand).
  '.ssh',
  '.gnupg',
  // Editors: tasks, launch settings, extensions.
  '.vscode',
  '.idea',
  '.fleet',
  '.zed',
  '.vim',
  '.emacs.d',
  '.devcontainer',
  // Coding agents: hooks, servers, commands.
  '.claude',
  '.codex',
  '.cursor',
  '.gemini',
  '.windsurf',
  '.continue',
  // Of a home: programs found by name, services, sessions.
  '.local/bin',
  '.local/share/applications',
  '.local/share/dbus-1',
  '.local/share/systemd',
  '.config/autostart',
  '.config/environment.d',
  '.config/fish',
  '.config/git',
  '.config/nvim',
  '.config/systemd',
  '.config/zed',
];

/** Files of that kind, wherever they are. */
const FILES = [
  // Shells (bash(1), zsh(1)) and sessions.
  '.profile',
  '.bashrc',
  '.bash_profile',
  '.bash_login',
  '.bash_logout',
  '.bash_aliases',
  '.zshrc',
  '.zshenv',
  '.zprofile',
  '.zlogin',
  '.zlogout',
  '.kshrc',
  '.cshrc',
  '.tcshrc',
  '.login',
  '.envrc',
  '.xinitrc',
  '.xprofile',
  '.xsession',
  '.xsessionrc',
  '.tmux.conf',
  '.screenrc',
  // Version control.
  '.gitconfig',
  '.gitmodules',
  '.hgrc',
  // Tools that load code or name programs in their settings.
  '.npmrc',
  '.yarnrc',
  '.yarnrc.yml',
  '.pnpmfile.cjs',
  '.cargo/config',
  '.cargo/config.toml',
  '.curlrc',
  '.wgetrc',
  '.gdbinit',
  '.lldbinit',
  '.vimrc',
  '.exrc',
  '.nvimrc',
  '.emacs',
  '.dir-locals.el',
  '.irbrc',
  '.Rprofile',
  '.sqliterc',
  '.psqlrc',
  // Coding agents: servers to start.
  '.mcp.json',
  '.claude.json',
];

const escaped = (names: readonly string[]): string => names.map((name) => name.replaceAll('.', '\\.')).join('|');

/** Upper case too: some file systems do not tell the two apart. */
const PATTERN = new RegExp(`/(?:(?:${escaped(FOLDERS)})(?:/|$)|(?:${escaped(FILES)})$)`, 'iu');

/**
 * Reports whether a program of this machine runs a file at that path, or obeys it, without an action of the user: hooks
 * of version control, start-up files of shells, editors and coding agents. Files that need an action (`make`, `npm
 * install`) do not count, nor do texts that agents read (`CLAUDE.md`): every file of a project may be one, and they
 * start nothing. `path` is relative to an allowed folder, because the user has allowed writing to that folder itself.
 */
export function isStartUpFile(path: string): boolean {
  return PATTERN.test(`/${path}`);
}
