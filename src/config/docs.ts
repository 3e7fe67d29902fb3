import { environmentNames } from './read.ts';
import { SETTING_GROUPS, type Setting, type SettingGroup } from './setting.ts';
import { SETTINGS } from './settings.ts';

const TITLES: Readonly<Record<SettingGroup, string>> = {
  general: 'General',
  server: 'Remote server',
  engine: 'Engine',
  http: 'HTTP server',
  cluster: 'Cluster',
  mcp: 'MCP server',
};

function defaultOf(row: Setting<unknown>): string {
  if (row.defaultText !== undefined) return row.defaultText;
  return row.default === '' || String(row.default) === '' ? '' : `\`${String(row.default)}\``;
}

function table(group: SettingGroup): string {
  const rows = (Object.values(SETTINGS) as Setting<unknown>[]).filter((row) => row.group === group);
  const lines = rows.map((row) => {
    const flag = `\`--${row.flag}${row.value === undefined ? '' : ` ${row.value}`}\``;
    const variable = row.programs.includes('contree') ? row.env : environmentNames('contree-mcp', row)[0];
    return `| ${flag} | \`${variable}\` | \`${row.flag.replaceAll('-', '_')}\` | ${defaultOf(row)} | ${row.doc} |`;
  });
  return [
    `## ${TITLES[group]}`,
    '',
    '| flag | environment | key | default | meaning |',
    '|---|---|---|---|---|',
    ...lines,
  ].join('\n');
}

/** Returns the text of docs/settings.md. */
export function settingsDocument(): string {
  return [
    '# Settings',
    'A flag overrides the environment, the environment the configuration file, the configuration file the default.',
    '`contree-mcp` also reads every variable as `CONTREE_MCP_…`, which overrides `CONTREE_…`. The configuration file is\n' +
      '`~/.config/contree/contree.ini` (`mcp.ini` for `contree-mcp`): `key = value` lines below `[DEFAULT]`; other sections\n' +
      'are profiles for `--profile`. Switches are `true` or `false` there; lists are comma-separated.',
    ...SETTING_GROUPS.map(table),
    '',
  ].join('\n\n');
}
